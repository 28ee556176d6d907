import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parse } from 'yaml'
import { findScenario } from '../../src/demo/scenarios.ts'
import { defaultManifests } from '../generate/kustomize.ts'
import { type Sight, startToldDaemon } from './told-daemon.ts'
import { names, reasonsIn } from './told-sights.ts'

/** The settings that the manifests give a daemon, by their paths; where it finds vLLM is another matter here. */
async function settingsOf(path: string): Promise<Readonly<Record<string, unknown>>> {
  const file = (await defaultManifests()).find((one) => one.path === path)
  const { targets, ...sections } = parse(parse(file?.text ?? '').data['vllm-vitals.yaml'])
  assert.equal(targets.length, 1)
  return Object.fromEntries(
    Object.entries<object>(sections).flatMap(([section, settings]) =>
      Object.entries(settings).map(([key, value]) => [`${section}.${key}`, value]),
    ),
  )
}

const stateOf = (sight: Sight, alert: string) =>
  sight.samples.find(({ labels }) => labels['alertname'] === alert)?.labels['state']

/** What the daemon says of the GPUs in the first two minutes of such a pod. */
async function watchPod(options: {
  readonly path: string
  readonly settings?: Readonly<Record<string, unknown>>
  readonly said?: { readonly stdout: string; readonly exitCode: number }
}): Promise<readonly Sight[]> {
  const told = await startToldDaemon({
    scenarios: [findScenario('steady')],
    from: 0,
    settings: { ...(await settingsOf(options.path)), ...options.settings },
  })
  try {
    told.fail(options.said)
    return await told.passTo(120)
  } finally {
    await told.stop()
  }
}

function assertRings(sights: readonly Sight[]): void {
  const firing = sights.filter((sight) => stateOf(sight, 'VllmNoGpu') === 'firing')
  const since = firing[0]?.at ?? Number.POSITIVE_INFINITY
  // The first look or the second finds no GPU, the condition holds for a minute, and a look comes each 5 s.
  assert.ok(since >= 60 && since <= 75, `VllmNoGpu fires at ${since} s`)
  const last = sights.at(-1)
  assert.ok(last && stateOf(last, 'VllmNoGpu') === 'firing')
  assert.deepEqual(names(reasonsIn(last.health)), ['VllmNoGpu'])
  // vLLM serves, and a GPU that cannot be seen takes no pod out of service.
  assert.deepEqual([last.code, last.health.status], [200, 'degraded'])
}

const paths = ['base/configmap.yaml', 'overlays/daemonset/configmap.yaml']

describe('a pod that started without a GPU, with the configuration of the manifests', {
  concurrency: false,
}, () => {
  for (const path of paths) {
    it(`rings VllmNoGpu where the runtime brought no nvidia-smi: ${path}`, async () => {
      assertRings(await watchPod({ path, settings: { 'gpu.command': '/nonexistent/nvidia-smi' } }))
    })
  }

  it('rings VllmNoGpu where nvidia-smi is there and finds no devices', async () => {
    const said = { stdout: 'No devices were found\n', exitCode: 6 }
    assertRings(await watchPod({ path: 'base/configmap.yaml', said }))
  })

  it('rings nothing where the GPUs can be seen', async () => {
    const sights = await watchPod({ path: 'base/configmap.yaml' })
    assert.deepEqual(
      sights.filter((sight) => stateOf(sight, 'VllmNoGpu') !== undefined),
      [],
    )
    assert.equal(sights.at(-1)?.health.status, 'healthy')
  })

  it('would not ring without the configuration of the manifests', async () => {
    const sights = await watchPod({
      path: 'base/configmap.yaml',
      settings: { 'gpu.enabled': 'auto', 'gpu.command': '/nonexistent/nvidia-smi' },
    })
    assert.deepEqual(
      sights.filter((sight) => stateOf(sight, 'VllmNoGpu') !== undefined),
      [],
    )
  })
})
