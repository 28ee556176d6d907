import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type Place, Places } from '../../src/window/places.ts'
import { Tracks } from '../../src/window/tracks.ts'
import { observe, readingOf, type Written } from './readings.ts'

function claimed(places: Places<string>, key: string, width: number, atMs = 0): Place<string> {
  const place = places.claim(key, key, { width, atMs })
  assert.ok(place !== undefined)
  return place
}

const always = () => true

describe('places', () => {
  it('are handed out one behind the other, up to their number', () => {
    const places = new Places<string>({ max: 2, empty: 0 })
    assert.equal(claimed(places, 'a', 3).offset, 0)
    assert.equal(claimed(places, 'b', 2).offset, 3)
    assert.equal(places.claim('c', 'c', { width: 1, atMs: 0 }), undefined)
    assert.deepEqual([places.length, places.size, places.find('c')], [5, 2, undefined])
    // One that it has may always be replaced.
    assert.equal(claimed(places, 'a', 4).offset, 5)
    assert.deepEqual([places.length, places.size], [9, 2])
  })

  it('of a vector of an earlier time that had not begun are empty', () => {
    const places = new Places<string>({ max: 9, empty: -1 })
    claimed(places, 'a', 2)
    const early = places.extend(undefined)
    assert.deepEqual(early, Float64Array.of(-1, -1))
    early[0] = 7
    claimed(places, 'b', 1)
    assert.deepEqual(places.extend(early), Float64Array.of(7, -1, -1))
    assert.deepEqual(early, Float64Array.of(7, -1))
  })

  it('are taken back when they were not written to for long and may go', () => {
    const places = new Places<string>({ max: 9, empty: 0 })
    claimed(places, 'old', 1, 10)
    claimed(places, 'kept', 1, 10)
    claimed(places, 'new', 1, 20)
    assert.equal(places.forget(10, always), false)
    assert.equal(
      places.forget(11, (what) => what !== 'kept'),
      true,
    )
    assert.deepEqual(
      Array.from(places.all, ({ what }) => what),
      ['kept', 'new'],
    )
  })

  it('close their gaps once those outweigh what is used, and vectors of any age follow', () => {
    const places = new Places<string>({ max: 9, empty: 0 })
    claimed(places, 'a', 1, 20)
    claimed(places, 'gone', 300, 10)
    claimed(places, 'b', 2, 20)
    const short = Float64Array.of(1)
    const long = Float64Array.from({ length: 303 }, (_, index) => index)
    assert.equal(places.compact(), undefined)
    places.forget(15, always)
    const move = places.compact()
    assert.ok(move !== undefined)
    assert.deepEqual(move(long), Float64Array.of(0, 301, 302))
    assert.deepEqual(move(short), Float64Array.of(1, 0, 0))
    assert.deepEqual([places.length, places.find('b')?.offset], [3, 1])
    assert.equal(places.compact(), undefined)
  })

  it('never take more than twice what is used, and a little', () => {
    const places = new Places<string>({ max: 1000, empty: 0 })
    for (let turn = 0; turn < 500; turn += 1) {
      for (let index = 0; index < 3; index += 1) claimed(places, `${turn} ${index}`, 25, turn)
      places.forget(turn - 10, always)
      places.compact()
      // At most eleven turns of three places are in use.
      assert.ok(places.length <= 2 * 11 * 3 * 25 + 256)
    }
    assert.equal(places.size, 33)
  })

  it('never take more when one is replaced again and again', () => {
    const places = new Places<string>({ max: 9, empty: 0 })
    for (let turn = 0; turn < 500; turn += 1) {
      claimed(places, 'a', 20 + (turn % 2))
      places.compact()
      assert.ok(places.length <= 2 * 21 + 256)
    }
  })
})

describe('tracks', () => {
  const bounds = [1, 2]
  const latency = (engine: string, edges = bounds): Written => ({
    instrument: 'e2e_latency',
    value: observe(edges, [1, 5]),
    engine,
  })
  const route = (tracks: Tracks, series: readonly Written[], atMs = 0) =>
    tracks.route(readingOf(series).channels, atMs)

  it('lead every number of a histogram to its place, and engines to the same', () => {
    const tracks = new Tracks({ maxTracks: 9 })
    const { sums, refused, rebound } = route(tracks, [latency('0'), latency('1')])
    // Two edges, the count and the sum: four numbers of each engine.
    const expected = [0, 0, 1, 1, 2, 2, 3, 3, 4, 0, 5, 1, 6, 2, 7, 3]
    assert.deepEqual(Array.from(sums), expected)
    assert.deepEqual([refused, rebound.length, tracks.totals.length], [0, 0, 4])
  })

  it('lead the numbers at common edges alone', () => {
    const tracks = new Tracks({ maxTracks: 9 })
    const { sums } = route(tracks, [latency('0'), latency('1', [2, 3])])
    // Only edge 2 is common: position 1 of the first engine and 0 of the second.
    assert.deepEqual(Array.from(sums), [1, 0, 2, 1, 3, 2, 4, 0, 6, 1, 7, 2])
    assert.deepEqual(tracks.find('e2e_latency', { model_name: 'm' })?.what.bounds, [2])
  })

  it('have no room for more than their number, and say how many channels were refused', () => {
    const tracks = new Tracks({ maxTracks: 2 })
    const counters = ['a', 'b', 'c', 'd'].map(
      (model): Written => ({ instrument: 'preemptions', value: 1, model }),
    )
    const { refused, sums } = route(tracks, counters)
    assert.deepEqual([refused, sums.length], [2, 4])
  })

  it('keep highs of the gauges of models alone', () => {
    const tracks = new Tracks({ maxTracks: 9 })
    const { gauges } = route(tracks, [
      { instrument: 'requests_running', value: 1 },
      { instrument: 'engine_asleep', value: 1 },
    ])
    assert.deepEqual(
      gauges.map(({ high }) => high?.offset),
      [0, undefined],
    )
    assert.equal(tracks.highs.length, 1)
  })

  it('of a model are taken back when it was away for long, those of its gauges too', () => {
    const tracks = new Tracks({ maxTracks: 9 })
    route(tracks, [latency('0'), { instrument: 'requests_running', value: 1 }])
    assert.equal(tracks.forget({ sinceMs: 0, atMs: 9 }), false)
    assert.equal(tracks.forget({ sinceMs: 1, atMs: 9 }), true)
    assert.deepEqual([tracks.totals.size, tracks.highs.size], [0, 0])
  })

  it('make room at once when it is crowded, of what is not on the page', () => {
    const tracks = new Tracks({ maxTracks: 8 })
    const of = (...models: readonly string[]) =>
      models.map((model): Written => ({ instrument: 'preemptions', value: 1, model }))
    route(tracks, of('a', 'b', 'c', 'd'), 1)
    // Four of eight is half of the room, and not more.
    assert.equal(tracks.forget({ sinceMs: 0, atMs: 1 }), false)
    for (const place of route(tracks, of('d', 'e'), 2).places) place.seenMs = 2
    assert.equal(tracks.forget({ sinceMs: 0, atMs: 2 }), true)
    const left = tracks.of('preemptions', undefined).map(({ what }) => what.labels['model_name'])
    assert.deepEqual(left, ['d', 'e'])
    assert.equal(tracks.of('preemptions', 'a').length, 0)
    assert.equal(tracks.of('preemptions', 'd').length, 1)
    assert.deepEqual(tracks.of('prompt_tokens', undefined), [])
  })
})
