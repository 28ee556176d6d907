import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { ReceiveBuffer } from '../../src/sources/receive-buffer.ts'

const kibibyte = 1024

/** Receives a page of `bytes` in chunks of 16 KiB. */
function receive(buffer: ReceiveBuffer, bytes: number): void {
  buffer.reset()
  for (let left = bytes; left > 0; left -= 16 * kibibyte) {
    buffer.append(new Uint8Array(Math.min(left, 16 * kibibyte)).fill(120))
  }
}

describe('the place where pages are received', () => {
  it('holds what came, in whatever pieces it came, page after page', () => {
    const chunk = fc.uint8Array({ maxLength: 40_000 })
    const pages = fc.array(fc.array(chunk, { maxLength: 6 }), { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(pages, (all) => {
        const buffer = new ReceiveBuffer()
        for (const chunks of all) {
          buffer.reset()
          for (const one of chunks) buffer.append(one)
          assert.deepEqual(Buffer.from(buffer.view()), Buffer.concat(chunks))
          assert.equal(buffer.length, Buffer.concat(chunks).length)
        }
      }),
      { numRuns: 50 },
    )
  })

  it('occupies nothing before the first byte', () => {
    const buffer = new ReceiveBuffer()
    buffer.reset()
    assert.equal(buffer.capacityBytes, 0)
    assert.equal(buffer.view().length, 0)
  })

  it('is kept from page to page', () => {
    const buffer = new ReceiveBuffer()
    receive(buffer, 300 * kibibyte)
    const before = buffer.view().buffer
    receive(buffer, 300 * kibibyte)
    assert.equal(buffer.view().buffer, before)
    // 64 KiB, doubled until 300 KiB fit.
    assert.equal(buffer.capacityBytes, 512 * kibibyte)
  })

  it('shrinks after 20 small pages, and not for one large page among them', () => {
    const buffer = new ReceiveBuffer()
    receive(buffer, 300 * kibibyte)
    for (let page = 0; page < 19; page += 1) receive(buffer, 20 * kibibyte)
    receive(buffer, 300 * kibibyte)
    for (let page = 0; page < 20; page += 1) receive(buffer, 20 * kibibyte)
    assert.equal(buffer.capacityBytes, 512 * kibibyte)
    receive(buffer, 20 * kibibyte)
    assert.equal(buffer.capacityBytes, 64 * kibibyte)
  })

  it('does not shrink below the size of its smallest piece', () => {
    const buffer = new ReceiveBuffer()
    receive(buffer, 10)
    const before = buffer.view().buffer
    for (let page = 0; page < 50; page += 1) receive(buffer, 10)
    assert.equal(buffer.view().buffer, before)
  })

  it('gives its memory back when it is told to, and works on', () => {
    const buffer = new ReceiveBuffer()
    receive(buffer, 300 * kibibyte)
    buffer.release()
    assert.deepEqual([buffer.capacityBytes, buffer.length], [0, 0])
    receive(buffer, 3)
    assert.equal(Buffer.from(buffer.view()).toString(), 'xxx')
  })
})
