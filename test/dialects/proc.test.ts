import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type HostMemory, listedProcesses, toReading } from '../../src/dialects/nvidia-smi.ts'
import { emptyRoster } from '../../src/dialects/nvidia-smi-roster.ts'
import { type GpuDocument, readGpus } from '../../src/dialects/nvidia-smi-values.ts'
import {
  bootSeconds,
  isProgram,
  readBirth,
  readMeminfo,
  residentBytes,
} from '../../src/dialects/proc.ts'

const kibibyte = 1_024

describe('/proc/meminfo', () => {
  it('tells what the host has and could still give', () => {
    const text =
      'MemTotal:       263843360 kB\nMemFree:        1000 kB\nMemAvailable:    90000 kB\n'
    assert.deepEqual(readMeminfo(text), {
      totalBytes: 263_843_360 * kibibyte,
      availableBytes: 90_000 * kibibyte,
    })
  })

  it('tells nothing where a line is missing or is none that we know', () => {
    const text = 'MemTotal: 5 MB\nXMemAvailable: 5 kB\n'
    assert.deepEqual(readMeminfo(text), { totalBytes: undefined, availableBytes: undefined })
  })
})

describe('/proc/PID/status', () => {
  it('tells the resident memory', () => {
    assert.equal(
      residentBytes('Name:\tpython3\nVmHWM:\t  300 kB\nVmRSS:\t  200 kB\nRssAnon:\t 100 kB\n'),
      200 * kibibyte,
    )
  })

  it('tells none of a process that has ended or of a kernel thread', () => {
    assert.equal(residentBytes('Name:\tpython3\nState:\tZ (zombie)\n'), undefined)
  })
})

describe('/proc/PID/cmdline', () => {
  const rows: readonly (readonly [claim: string, cmdline: string, name: string, same: boolean])[] =
    [
      ['is that of a program with arguments', '/usr/bin/python3\0-m\0vllm\0', 'python3 -m x', true],
      ['is that of a program by its whole path', 'python3\0', '/opt/venv/bin/python3', true],
      [
        'is that of a program which named itself',
        'VLLM::EngineCore\0\0\0',
        'VLLM::EngineCore',
        true,
      ],
      ['is that of another program', '/bin/sh\0-c\0python3\0', 'python3', false],
      ['is that of no program', '', '', false],
      ['is that of no program which has a name', '', '[Not Found]', false],
    ]
  for (const [claim, cmdline, name, same] of rows) {
    it(`${claim}: ${JSON.stringify(cmdline)} and ${name}`, () => {
      assert.equal(isProgram(cmdline, name), same)
    })
  }
})

/** A document of GPUs, each with processes as `pid name MiB`. */
function documentOf(...gpus: readonly (readonly string[])[]): GpuDocument {
  return readGpus({
    nvidia_smi_log: {
      gpu: gpus.map((processes, index) => ({
        uuid: `GPU-${index}`,
        $: { id: `00000000:0${index + 1}:00.0` },
        processes: {
          process_info: processes.map((line) => {
            const [pid, process_name, mebibytes] = line.split(' ')
            return { pid, process_name, used_memory: `${mebibytes} MiB` }
          }),
        },
      })),
    },
  })
}

describe('the processes of a document', () => {
  it('stand once, however many GPUs they are on, those with the most memory first', () => {
    const document = documentOf(['7 a 10', '8 b 15'], ['7 a 10', '9 c N/A'])
    assert.deepEqual(listedProcesses(document), [
      { pid: 7, name: 'a' },
      { pid: 8, name: 'b' },
      { pid: 9, name: 'c' },
    ])
  })

  it('are at most 64', () => {
    const many = Array.from({ length: 70 }, (_, index) => `${index + 1} a ${index + 1}`)
    const listed = listedProcesses(documentOf(many))
    assert.equal(listed.length, 64)
    assert.equal(listed[0]?.pid, 70)
  })
})

describe('the memory of the host', () => {
  const document = documentOf(['7 a 10'], ['7 a 10'])
  const read = (host: HostMemory | undefined) =>
    toReading(document, emptyRoster, { processes: true, lostBusIds: [], remarks: [], host }).reading
  const hostOf = (found: ReturnType<typeof read>) =>
    found.channels
      .filter(({ group }) => group === 'host')
      .map(({ instrument, labels, offset }) => [instrument, labels, found.values[offset]])

  it('is part of the reading of the GPUs, each process once', () => {
    const processes = [
      { pid: 12, process: 'b', residentBytes: 5 },
      { pid: 7, process: 'a', residentBytes: 4 },
    ]
    const host = { totalBytes: 100, availableBytes: 60, processes, note: undefined }
    assert.deepEqual(hostOf(read(host)), [
      ['host_memory_total', {}, 100],
      ['host_memory_available', {}, 60],
      ['host_process_memory', { pid: '7', process: 'a' }, 4],
      ['host_process_memory', { pid: '12', process: 'b' }, 5],
    ])
  })

  it('is left out where it is not told, and the note says why', () => {
    const nothing = { totalBytes: undefined, availableBytes: undefined, processes: [] }
    const found = read({ ...nothing, note: 'hidden' })
    assert.deepEqual([hostOf(found), found.notes], [[], ['hidden']])
    assert.deepEqual(hostOf(read(undefined)), [])
  })
})

describe('the birth of a process', () => {
  const tail = 'S 4700 4711 4700 0 -1 4194560 5 0 0 0 1 2 0 0 20 0 9 0 123456 7 8'

  it('is its parent and its start in hundredths of a second since the boot', () => {
    // Field 22 of the line is the 20th behind the name: 123456 ticks are 1234.56 s.
    const birth = { parent: 4700, afterBootSeconds: 1_234.56 }
    assert.deepEqual(readBirth(`4711 (python3) ${tail}\n`), birth)
    assert.deepEqual(readBirth(`4711 (a) S 1 (b) ${tail}\n`), birth)
  })

  it('is unknown from what is no such line', () => {
    for (const text of ['', '4711 (x)', '4711 (x) S 1 2 3', 'no process']) {
      assert.equal(readBirth(text), undefined)
    }
  })

  it('counts from the boot that /proc/stat tells', () => {
    assert.equal(bootSeconds('cpu 1 2\nintr 5 6\nbtime 1700000000\nprocesses 9\n'), 1_700_000_000)
    assert.equal(bootSeconds('cpu 1 2\n'), undefined)
  })
})
