import type { ThrottleReason } from './incident.ts'

/** One GPU at one moment, in the units in which the program prints them. */
export interface SimulatedGpu {
  readonly index: number
  readonly busId: string
  readonly uuid: string
  readonly utilizationPercent: number
  readonly memoryActivityPercent: number
  readonly totalMiB: number
  readonly reservedMiB: number
  readonly usedMiB: number
  readonly celsius: number
  readonly watts: number
  readonly limitWatts: number
  readonly clockMhz: number
  readonly fullClockMhz: number
  /** Why it runs slower than it could; absent when it does not. */
  readonly throttle: ThrottleReason | undefined
  /** For how long it has done so, by the reason, in microseconds. */
  readonly throttledUs: Partial<Readonly<Record<ThrottleReason, number>>>
  readonly processes: readonly {
    readonly pid: number
    readonly name: string
    readonly usedMiB: number
  }[]
}

/** An XML element's content: text, elements by name, or several elements of one name. */
interface Elements {
  readonly [name: string]: string | Elements | readonly Elements[]
}

export interface GpuElements {
  readonly busId: string
  readonly elements: Elements
}

const driver = '580.95.05'
const none = 'N/A'

/** Returns the document that `nvidia-smi -q -x` of a 580 driver prints for these GPUs. */
export function smiDocument(options: {
  /** Unix milliseconds. */
  readonly wallMs: number
  /** How many GPUs the driver has taken on; more than `gpus` when some cannot be read. */
  readonly attached: number
  readonly gpus: readonly GpuElements[]
}): string {
  const lines = [
    '<?xml version="1.0" ?>',
    '<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v13.dtd">',
    '<nvidia_smi_log>',
    `\t<timestamp>${cTime(options.wallMs)}</timestamp>`,
    `\t<driver_version>${driver}</driver_version>`,
    '\t<cuda_version>13.0</cuda_version>',
    `\t<attached_gpus>${options.attached}</attached_gpus>`,
  ]
  for (const gpu of options.gpus) {
    lines.push(`\t<gpu id="${gpu.busId}">`)
    print(gpu.elements, '\t\t', lines)
    lines.push('\t</gpu>', '')
  }
  lines.push('</nvidia_smi_log>', '')
  return lines.join('\n')
}

/** Returns the elements of one GPU, under the names and in the order of the 580 drivers. */
export function gpuElements(gpu: SimulatedGpu): GpuElements {
  return {
    busId: gpu.busId,
    elements: {
      ...identity(gpu),
      pci: pci(gpu),
      fan_speed: none,
      performance_state: gpu.utilizationPercent > 0 ? 'P0' : 'P8',
      ...clockEvents(gpu),
      sparse_operation_mode: 'Disabled',
      ...memory(gpu),
      compute_mode: 'Default',
      ...activity(gpu),
      ...defects,
      ...heatAndPower(gpu),
      ...clocks(gpu),
      ...processes(gpu),
    },
  }
}

/** Appends one line for each element that holds text, and nests the others with a tab more. */
function print(elements: Elements, indent: string, lines: string[]): void {
  for (const [name, content] of Object.entries(elements)) {
    if (typeof content === 'string') {
      lines.push(`${indent}<${name}>${escaped(content)}</${name}>`)
      continue
    }
    const group = isList(content) ? content : [content]
    for (const inner of group) {
      lines.push(`${indent}<${name}>`)
      print(inner, `${indent}\t`, lines)
      lines.push(`${indent}</${name}>`)
    }
  }
}

function isList(content: Elements | readonly Elements[]): content is readonly Elements[] {
  return Array.isArray(content)
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

/** `Sun Nov 22 10:00:00 2026`, from `Sun, 22 Nov 2026 10:00:00 GMT`. */
function cTime(wallMs: number): string {
  const [day, date, month, year, time] = new Date(wallMs).toUTCString().replace(',', '').split(' ')
  return `${day} ${month} ${date} ${time} ${year}`
}

function identity(gpu: SimulatedGpu): Elements {
  return {
    product_name: 'NVIDIA H100 80GB HBM3',
    product_brand: 'NVIDIA',
    product_architecture: 'Hopper',
    display_mode: 'Requested functionality has been deprecated',
    display_attached: 'No',
    display_active: 'Disabled',
    persistence_mode: 'Enabled',
    addressing_mode: 'HMM',
    mig_mode: { current_mig: 'Disabled', pending_mig: 'Disabled' },
    mig_devices: 'None',
    accounting_mode: 'Disabled',
    accounting_mode_buffer_size: '4000',
    driver_model: { current_dm: none, pending_dm: none },
    serial: `165000000${String(gpu.index).padStart(4, '0')}`,
    uuid: gpu.uuid,
    minor_number: String(gpu.index),
    vbios_version: '96.00.99.00.01',
    multigpu_board: 'No',
    gpu_virtualization_mode: { virtualization_mode: 'None', host_vgpu_mode: none },
    gpu_recovery_action: 'None',
    gsp_firmware_version: driver,
  }
}

function pci(gpu: SimulatedGpu): Elements {
  return {
    pci_bus: gpu.busId.slice(9, 11),
    pci_device: '00',
    pci_domain: '0000',
    pci_device_id: '233010DE',
    pci_bus_id: gpu.busId,
    pci_gpu_link_info: {
      pcie_gen: { max_link_gen: '5', current_link_gen: '5' },
      link_widths: { max_link_width: '16x', current_link_width: '16x' },
    },
    replay_counter: '0',
    replay_rollover_counter: '0',
    tx_util: `${500 + 30 * gpu.utilizationPercent} KB/s`,
    rx_util: `${400 + 20 * gpu.utilizationPercent} KB/s`,
  }
}

function clockEvents(gpu: SimulatedGpu): Elements {
  const idle = gpu.utilizationPercent === 0
  const { throttle, throttledUs } = gpu
  const active = (reason: ThrottleReason) => (throttle === reason ? 'Active' : 'Not Active')
  // The reason that says less is set with the one that says more.
  const slowed = throttle === 'hw_thermal_slowdown' ? 'Active' : active('hw_slowdown')
  return {
    clocks_event_reasons: {
      clocks_event_reason_gpu_idle: idle ? 'Active' : 'Not Active',
      clocks_event_reason_applications_clocks_setting: 'Not Active',
      clocks_event_reason_sw_power_cap: active('sw_power_cap'),
      clocks_event_reason_hw_slowdown: slowed,
      clocks_event_reason_hw_thermal_slowdown: active('hw_thermal_slowdown'),
      clocks_event_reason_hw_power_brake_slowdown: 'Not Active',
      clocks_event_reason_sync_boost: 'Not Active',
      clocks_event_reason_sw_thermal_slowdown: 'Not Active',
      clocks_event_reason_display_clocks_setting: 'Not Active',
    },
    clocks_event_reasons_counters: {
      clocks_event_reasons_counters_sw_power_cap: `${throttledUs.sw_power_cap ?? 0} us`,
      clocks_event_reasons_counters_sync_boost: '0 us',
      clocks_event_reasons_counters_sw_therm_slowdown: '0 us',
      clocks_event_reasons_counters_hw_therm_slowdown: `${throttledUs.hw_thermal_slowdown ?? 0} us`,
      clocks_event_reasons_counters_hw_power_brake: '0 us',
    },
  }
}

function memory(gpu: SimulatedGpu): Elements {
  const { totalMiB, reservedMiB, usedMiB } = gpu
  return {
    fb_memory_usage: {
      total: `${totalMiB} MiB`,
      reserved: `${reservedMiB} MiB`,
      used: `${usedMiB} MiB`,
      free: `${totalMiB - reservedMiB - usedMiB} MiB`,
    },
    bar1_memory_usage: { total: '131072 MiB', used: '2 MiB', free: '131070 MiB' },
    cc_protected_memory_usage: { total: '0 MiB', used: '0 MiB', free: '0 MiB' },
  }
}

function activity(gpu: SimulatedGpu): Elements {
  const sessions = { session_count: '0', average_fps: '0', average_latency: '0' }
  return {
    utilization: {
      gpu_util: `${gpu.utilizationPercent} %`,
      memory_util: `${gpu.memoryActivityPercent} %`,
      encoder_util: '0 %',
      decoder_util: '0 %',
      jpeg_util: '0 %',
      ofa_util: '0 %',
    },
    encoder_stats: sessions,
    fbc_stats: sessions,
  }
}

/** A healthy card: error correction on and nothing to correct. */
const defects: Elements = {
  ecc_mode: { current_ecc: 'Enabled', pending_ecc: 'Enabled' },
  ecc_errors: {
    volatile: noEccErrors(),
    aggregate: { ...noEccErrors(), sram_threshold_exceeded: 'No' },
    channel_repair_pending: 'No',
    tpc_repair_pending: 'No',
  },
  retired_pages: {
    multiple_single_bit_retirement: { retired_count: none, retired_pagelist: none },
    double_bit_retirement: { retired_count: none, retired_pagelist: none },
    pending_blacklist: none,
    pending_retirement: none,
  },
  remapped_rows: {
    remapped_row_corr: '0',
    remapped_row_unc: '0',
    remapped_row_pending: 'No',
    remapped_row_failure: 'No',
  },
}

function noEccErrors(): Elements {
  return {
    sram_correctable: '0',
    sram_uncorrectable_parity: '0',
    sram_uncorrectable_secded: '0',
    dram_correctable: '0',
    dram_uncorrectable: '0',
  }
}

function heatAndPower(gpu: SimulatedGpu): Elements {
  const limit = `${gpu.limitWatts.toFixed(2)} W`
  return {
    temperature: {
      gpu_temp: `${gpu.celsius} C`,
      gpu_temp_tlimit: `${87 - gpu.celsius} C`,
      gpu_temp_max_tlimit_threshold: '-8 C',
      gpu_temp_slow_tlimit_threshold: '-2 C',
      gpu_temp_max_gpu_tlimit_threshold: '0 C',
      gpu_target_temperature: none,
      memory_temp: `${gpu.celsius + 8} C`,
      gpu_temp_max_mem_tlimit_threshold: '0 C',
    },
    gpu_power_readings: {
      power_state: gpu.utilizationPercent > 0 ? 'P0' : 'P8',
      average_power_draw: `${gpu.watts.toFixed(2)} W`,
      instant_power_draw: `${gpu.watts.toFixed(2)} W`,
      current_power_limit: limit,
      requested_power_limit: limit,
      default_power_limit: limit,
      min_power_limit: '200.00 W',
      max_power_limit: limit,
    },
  }
}

function clocks(gpu: SimulatedGpu): Elements {
  const full = `${gpu.fullClockMhz} MHz`
  return {
    clocks: {
      graphics_clock: `${gpu.clockMhz} MHz`,
      sm_clock: `${gpu.clockMhz} MHz`,
      mem_clock: '2619 MHz',
      video_clock: gpu.clockMhz === gpu.fullClockMhz ? '1545 MHz' : '765 MHz',
    },
    applications_clocks: { graphics_clock: full, mem_clock: '2619 MHz' },
    max_clocks: {
      graphics_clock: full,
      sm_clock: full,
      mem_clock: '2619 MHz',
      video_clock: '1545 MHz',
    },
  }
}

function processes(gpu: SimulatedGpu): Elements {
  if (gpu.processes.length === 0) return { processes: {}, accounted_processes: {} }
  const infos = gpu.processes.map(({ pid, name, usedMiB }) => ({
    gpu_instance_id: none,
    compute_instance_id: none,
    pid: String(pid),
    type: 'C',
    process_name: name,
    used_memory: `${usedMiB} MiB`,
  }))
  return { processes: { process_info: infos }, accounted_processes: {} }
}
