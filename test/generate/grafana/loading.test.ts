import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { it } from 'node:test'
import { makeFiles } from '../../../src/generate/generate.ts'
import { configOf } from '../../config/with-file.ts'

it('the library of Grafana is loaded for dashboards, and for nothing else', async () => {
  const { cache } = createRequire(import.meta.url)
  const isLoaded = () => Object.keys(cache).some((path) => path.includes('grafana-foundation-sdk'))
  const config = await configOf({})
  await makeFiles('prometheus-rules', config)
  assert.equal(isLoaded(), false)
  await makeFiles('grafana', config)
  assert.equal(isLoaded(), true)
})
