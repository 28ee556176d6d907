import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { toReading } from '../../src/dialects/nvidia-smi.ts'
import { emptyRoster, type GpuRoster } from '../../src/dialects/nvidia-smi-roster.ts'
import { readGpus } from '../../src/dialects/nvidia-smi-values.ts'
import type { Reading } from '../../src/reading.ts'

interface Card {
  readonly uuid?: string
  readonly bus?: string
}

const a: Card = { uuid: 'GPU-a', bus: '00000000:41:00.0' }
const b: Card = { uuid: 'GPU-b', bus: '00000000:01:00.0' }
const c: Card = { uuid: 'GPU-c', bus: '00000000:81:00.0' }

/** A tree as the package makes it, so that many machines can be tried quickly. */
function treeOfCards(cards: readonly Card[], attached?: number): unknown {
  const gpus = cards.map(({ uuid, bus }) => ({
    ...(bus === undefined ? {} : { $: { id: bus } }),
    ...(uuid === undefined ? {} : { uuid }),
    utilization: { gpu_util: '50 %' },
  }))
  const attachedGpus = attached === undefined ? {} : { attached_gpus: String(attached) }
  return { nvidia_smi_log: { ...attachedGpus, gpu: gpus.length === 1 ? gpus[0] : gpus } }
}

class Machine {
  #roster: GpuRoster = emptyRoster

  /** Returns `index uuid` of each GPU; one that is lost has a `!`, one with values a `%`. */
  read(cards: readonly Card[], lostBusIds: readonly string[] = []): readonly string[] {
    const reading = this.reading(cards, { lostBusIds })
    return reading.channels
      .filter((channel) => channel.instrument === 'gpu_lost')
      .map(({ labels, offset }) => {
        const { gpu, uuid } = labels
        const lost = reading.values[offset] === 1 ? '!' : ''
        const told = reading.channels.some(
          (channel) => channel.instrument === 'gpu_utilization' && channel.labels['gpu'] === gpu,
        )
        return `${gpu} ${uuid}${lost}${told ? '%' : ''}`
      })
  }

  reading(
    cards: readonly Card[],
    options: { readonly lostBusIds?: readonly string[]; readonly attached?: number } = {},
  ): Reading {
    const { lostBusIds = [], attached } = options
    const next = toReading(readGpus(treeOfCards(cards, attached)), this.#roster, {
      processes: false,
      lostBusIds,
      remarks: [],
    })
    this.#roster = next.roster
    return next.reading
  }
}

describe('the index of a GPU', () => {
  it('is its place on the PCI bus, in whatever order the document lists them', () => {
    for (const order of [
      [a, b, c],
      [c, a, b],
      [c, b, a],
    ]) {
      assert.deepEqual(new Machine().read(order), ['0 GPU-b%', '1 GPU-a%', '2 GPU-c%'])
    }
  })

  it('follows the domain as a number, spelled with four or eight digits', () => {
    const cards = [
      { uuid: 'GPU-4', bus: '00010000:01:00.0' },
      { uuid: 'GPU-3', bus: '00002DF7:00:00.0' },
      { uuid: 'GPU-2', bus: '0009:01:00.0' },
      { uuid: 'GPU-1', bus: '00000000:C1:00.0' },
      { uuid: 'GPU-5', bus: 'a bus of its own' },
    ]
    const uuids = new Machine().read(cards).map((line) => line.slice(2))
    assert.deepEqual(uuids, ['GPU-1%', 'GPU-2%', 'GPU-3%', 'GPU-4%', 'GPU-5%'])
  })

  it('stays when the document changes its order', () => {
    const machine = new Machine()
    machine.read([b, a])
    assert.deepEqual(machine.read([a, b]), ['0 GPU-b%', '1 GPU-a%'])
  })

  it('stays when a GPU is plugged in before it, and the new one gets the next', () => {
    const machine = new Machine()
    machine.read([a, c])
    assert.deepEqual(machine.read([b, a, c]), ['0 GPU-a%', '1 GPU-c%', '2 GPU-b%'])
  })

  it('stays when the GPU moves to another bus id', () => {
    const machine = new Machine()
    machine.read([b, a])
    assert.deepEqual(machine.read([a, { ...b, bus: '00000000:F1:00.0' }]), ['0 GPU-b%', '1 GPU-a%'])
  })

  it('is fixed for a uuid, whatever is there and in what order', () => {
    const cards = Array.from({ length: 6 }, (_, i) => ({
      uuid: `GPU-${i}`,
      bus: `00000000:${(0x90 - 0x10 * i).toString(16)}:00.0`,
    }))
    fc.assert(
      fc.property(fc.array(fc.shuffledSubarray(cards), { maxLength: 8 }), (readings) => {
        const machine = new Machine()
        const indexOf = new Map<string, string>()
        for (const listed of readings) {
          if (listed.length === 0 && indexOf.size === 0) continue
          const lines = machine.read(listed)
          for (const line of lines) {
            const [, index = '', uuid = '', state] = /^(\d+) (GPU-\d)(!|%)$/.exec(line) ?? [line]
            assert.equal(indexOf.get(uuid) ?? index, index)
            assert.equal(state, listed.some((card) => card.uuid === uuid) ? '%' : '!')
            indexOf.set(uuid, index)
          }
          assert.equal(lines.length, indexOf.size)
          assert.equal(new Set(indexOf.values()).size, indexOf.size)
        }
      }),
    )
  })
})

describe('a GPU that is gone', () => {
  it('stays on the page as lost with no other value, and comes back as itself', () => {
    const machine = new Machine()
    machine.read([b, a])
    assert.deepEqual(machine.read([a]), ['0 GPU-b!', '1 GPU-a%'])
    assert.deepEqual(machine.read([b, a]), ['0 GPU-b%', '1 GPU-a%'])
  })

  it('is told in a note that names it', () => {
    const machine = new Machine()
    machine.read([b, a])
    const [note = ''] = machine.reading([a]).notes
    assert.match(note, /^GPU 0 \(GPU-b, bus 0:01:00\.0\) cannot be reached/)
  })

  it('leaves the others readable even when all of them go', () => {
    const machine = new Machine()
    machine.read([b, a])
    assert.deepEqual(machine.read([]), ['0 GPU-b!', '1 GPU-a!'])
  })

  it('gives its index to the one that replaces it in its slot', () => {
    const machine = new Machine()
    machine.read([b, a])
    const replaced = [{ ...b, uuid: 'GPU-new' }, a]
    assert.match(
      machine.reading(replaced).notes[0] ?? '',
      /^GPU 0 \(GPU-b\) was replaced by GPU-new/,
    )
    assert.deepEqual(machine.read(replaced), ['0 GPU-new%', '1 GPU-a%'])
  })

  it('and was never listed is known by the bus id that the program names', () => {
    const machine = new Machine()
    assert.deepEqual(machine.read([b], ['0:41:00.0']), ['0 GPU-b%', '1 !'])
    assert.deepEqual(machine.read([b], ['0:41:00.0']), ['0 GPU-b%', '1 !'])
    assert.deepEqual(machine.read([b, a]), ['0 GPU-b%', '1 GPU-a%'])
  })

  it('and was listed before is not a second one when the program names it', () => {
    const machine = new Machine()
    machine.read([b, a])
    assert.deepEqual(machine.read([b], ['0:41:00.0']), ['0 GPU-b%', '1 GPU-a!'])
  })

  it('and named although it is listed is lost with its values', () => {
    assert.deepEqual(new Machine().read([{ ...a, bus: '0000:41:00.0' }], ['0:41:00.0']), [
      '0 GPU-a!%',
    ])
  })

  it('known by its bus id alone and found again at another one is not there twice', () => {
    const machine = new Machine()
    machine.read([a])
    machine.read([a], ['0:01:00.0'])
    assert.deepEqual(machine.read([{ ...a, bus: '00000000:01:00.0' }]), ['0 GPU-a%'])
  })
})

describe('a GPU whose identity is not told', () => {
  it('is the one that is known at its bus id', () => {
    const machine = new Machine()
    machine.read([b, a])
    assert.deepEqual(machine.read([b, { bus: '0000:41:00.0' }]), ['0 GPU-b%', '1 GPU-a%'])
  })

  it('and is not known there has no uuid until it tells one', () => {
    const machine = new Machine()
    assert.deepEqual(machine.read([b, { bus: '00000000:41:00.0' }]), ['0 GPU-b%', '1 %'])
    assert.deepEqual(machine.read([b, a]), ['0 GPU-b%', '1 GPU-a%'])
  })

  it('in no way at all is left out, and counted', () => {
    const reading = new Machine().reading([a, {}])
    assert.deepEqual(reading.limitHits, { series: 1 })
    assert.match(reading.notes.join(), /without uuid and bus id is left out/)
  })

  it('because two have one uuid is left out after the first, and counted', () => {
    const machine = new Machine()
    const twins = [a, { ...a, bus: '00000000:C1:00.0' }]
    assert.deepEqual(machine.read(twins), ['0 GPU-a%'])
    const reading = machine.reading(twins)
    assert.deepEqual(reading.limitHits, { series: 1 })
    assert.match(reading.notes.join(), /a second GPU GPU-a \(bus 0:c1:00\.0\) is left out/)
  })
})

describe('the number of GPUs', () => {
  for (const count of [1, 8, 16, 128]) {
    it(`may be ${count}`, () => {
      const cards = Array.from({ length: count }, (_, i) => ({ uuid: `GPU-${i}` }))
      assert.equal(new Machine().read(cards).length, count)
    })
  }

  it('is limited to 128, and the rest is counted', () => {
    const cards = Array.from({ length: 130 }, (_, i) => ({ uuid: `GPU-${i}` }))
    const reading = new Machine().reading(cards)
    const told = reading.channels.filter((channel) => channel.instrument === 'gpu_lost')
    assert.equal(told.length, 128)
    assert.deepEqual(reading.limitHits, { series: 2 })
  })

  it('that the driver counts is compared with those it lists', () => {
    const notes = (attached: number) => new Machine().reading([a, b], { attached }).notes
    assert.deepEqual(notes(2), [])
    assert.deepEqual(notes(1), [])
    assert.deepEqual(notes(3), ['the driver counts 3 GPUs, its document lists 2'])
  })
})
