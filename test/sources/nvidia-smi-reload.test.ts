import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { loadConfig } from '../../src/config/load.ts'
import type { Config } from '../../src/config/schema.ts'
import type { Reading } from '../../src/reading.ts'
import { GpuMemories } from '../../src/sources/nvidia-smi.ts'
import { gpuTargetName } from '../../src/sources/settings.ts'
import { watchesOf } from '../../src/watch.ts'
import { type FakeSmi, fakeNvidiaSmi, smiFixture } from '../fakes/fake-nvidia-smi.ts'
import { ManualClock } from '../fakes/manual-clock.ts'

const twoGpus = smiFixture('two-gpus.xml')
// The GPU at bus 01 is the second in the document and the first on the bus.
const withoutTheFirst =
  twoGpus.slice(0, twoGpus.indexOf('<gpu id="00000000:01:00.0">')) +
  twoGpus.slice(twoGpus.lastIndexOf('</gpu>') + '</gpu>'.length)

const defaults = (await loadConfig({})).config
const fakes: FakeSmi[] = []

after(() => {
  for (const fake of fakes) fake.remove()
})

function fakeOf(stdout: string): FakeSmi {
  const fake = fakeNvidiaSmi({ stdout })
  fakes.push(fake)
  return fake
}

/** Reads once with a new source, as after a reload that changed the section `gpu`. */
async function readUnder(memories: GpuMemories, gpu: Partial<Config['gpu']>): Promise<Reading> {
  const config: Config = { ...defaults, gpu: { ...defaults.gpu, timeoutMs: 8_000, ...gpu } }
  const wanted = watchesOf(config, memories).get(gpuTargetName)
  assert.ok(wanted !== undefined)
  const source = wanted.open(new ManualClock())
  try {
    return await source.collect(new AbortController().signal)
  } finally {
    await source.close()
  }
}

/** `index uuid`, with a `!` where the GPU is lost. */
function gpusOf(reading: Reading): readonly string[] {
  return reading.channels
    .filter(({ instrument }) => instrument === 'gpu_lost')
    .map(({ labels, offset }) => {
      const lost = reading.values[offset] === 1 ? '!' : ''
      return `${labels['gpu']} ${labels['uuid']}${lost}`
    })
}

describe('GPUs over a reload of the configuration', () => {
  it('keep their index, and one that was lost before it is lost after it', async () => {
    const fake = fakeOf(twoGpus)
    const { command } = fake
    const memories = new GpuMemories()
    const [first, second] = gpusOf(await readUnder(memories, { command }))
    fake.replay({ stdout: withoutTheFirst })
    const lost = [`${first}!`, second]
    assert.deepEqual(gpusOf(await readUnder(memories, { command })), lost)
    const reloads: readonly Partial<Config['gpu']>[] = [
      { intervalMs: 1_234 },
      { timeoutMs: 7_000 },
      { processes: !defaults.gpu.processes },
      { enabled: true },
    ]
    for (const change of reloads) {
      const reading = await readUnder(memories, { command, ...change })
      assert.deepEqual(gpusOf(reading), lost, JSON.stringify(change))
    }
  })

  it('keep the identity of their page, by which windows know their series', async () => {
    const { command } = fakeOf(twoGpus)
    const memories = new GpuMemories()
    const before = await readUnder(memories, { command })
    const after = await readUnder(memories, { command, intervalMs: 1_234 })
    assert.equal(after.channels, before.channels)
  })

  it('begin anew with another command, and are known again with the one before', async () => {
    const memories = new GpuMemories()
    const [here, elsewhere] = [fakeOf(twoGpus), fakeOf(withoutTheFirst)]
    const [first, second] = gpusOf(await readUnder(memories, { command: here.command }))
    const { command } = elsewhere
    // The second of two is the only one there is: index 0.
    const alone = second?.replace(/^1 /, '0 ')
    assert.deepEqual(gpusOf(await readUnder(memories, { command })), [alone])
    here.replay({ stdout: withoutTheFirst })
    const again = await readUnder(memories, { command: here.command })
    assert.deepEqual(gpusOf(again), [`${first}!`, second])
  })
})

describe('the memories of GPUs', () => {
  it('are those of the eight commands used last', () => {
    const memories = new GpuMemories()
    const first = memories.of('0')
    const second = memories.of('1')
    for (let n = 2; n < 8; n += 1) memories.of(`${n}`)
    assert.equal(memories.of('0'), first)
    // The ninth; the longest unused of the eight is '1' now.
    memories.of('8')
    assert.equal(memories.of('0'), first)
    assert.notEqual(memories.of('1'), second)
  })
})
