import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { type AlknetError, createAlknetEventTarget, frameStream } from '../index.js'
import { memoryPair } from './support/duplexes.js'
import { Random } from './support/random.js'

const LARGEST = 64 * 2 ** 20

/** What the fuzzer of the Rust side has kept for a target (fuzz/corpus/). */
function corpus(target: string): { name: string; input: Buffer }[] {
  const folder = new URL(`../fuzz/corpus/${target}/`, import.meta.url)
  return readdirSync(folder).map((name) => ({ name, input: readFileSync(new URL(name, folder)) }))
}

interface Decoded {
  frames: string[]
  error: string | undefined
}

/** What a stream of length-prefixed frames is, read from the whole of it. */
function reference(wire: Buffer, maxFrame: number): Decoded {
  const frames: string[] = []
  let at = 0
  while (at < wire.length) {
    if (wire.length - at < 4) return { frames, error: 'ERR_ALKNET_FRAME_INVALID' }
    const length = wire.readUInt32BE(at)
    if (length > maxFrame) return { frames, error: 'ERR_ALKNET_FRAME_TOO_LARGE' }
    const end = at + 4 + length
    if (length === 0 || end > wire.length) return { frames, error: 'ERR_ALKNET_FRAME_INVALID' }
    frames.push(wire.toString('hex', at + 4, end))
    at = end
  }
  return { frames, error: undefined }
}

async function decode(chunks: Buffer[], maxFrame: number): Promise<Decoded> {
  const [near, far] = memoryPair()
  far.on('error', () => {})
  const frames: string[] = []
  const messages = frameStream(near, { maxFrame })
  for (const chunk of chunks) far.write(chunk)
  far.end()
  try {
    for await (const message of messages) frames.push(message.toString('hex'))
    return { frames, error: undefined }
  } catch (error) {
    return { frames, error: (error as AlknetError).code }
  }
}

function cut(random: Random, wire: Buffer): Buffer[] {
  const longest = random.pick([1, 3, 20, 1000])
  const chunks: Buffer[] = []
  for (let at = 0; at < wire.length; ) {
    const length = 1 + random.below(longest)
    chunks.push(wire.subarray(at, at + length))
    at += length
  }
  return chunks
}

describe('frames', () => {
  it('are what the bytes say, wherever the stream is cut, for all that the fuzzer has kept', async () => {
    const random = new Random()
    for (const { name, input } of corpus('frames')) {
      const maxFrame = 2 ** ((input[0] ?? 0) % 27)
      const wire = input.subarray(2)
      const decoded = await decode(cut(random, wire), maxFrame)
      expect(decoded, `${name}, seed ${random.seed}`).toEqual(reference(wire, maxFrame))
    }
  })

  it('are what any bytes say, or a defined error', async () => {
    const random = new Random()
    for (let round = 0; round < 300; round += 1) {
      const parts = Array.from({ length: random.below(6) }, () => {
        const body = random.bytes(random.below(30))
        const header = Buffer.alloc(4)
        // Mostly true, sometimes not.
        header.writeUInt32BE(random.below(8) === 0 ? random.below(2 ** 32) : body.length)
        return Buffer.concat([header, body])
      })
      const wire = Buffer.concat([...parts, random.bytes(random.below(6))])
      const maxFrame = random.pick([1, 20, 29, LARGEST])
      const decoded = await decode(cut(random, wire), maxFrame)
      expect(decoded, `round ${round}, seed ${random.seed}`).toEqual(reference(wire, maxFrame))
    }
  })

  it('take memory as they come, not as they are announced', async () => {
    const before = process.memoryUsage().arrayBuffers
    const header = Buffer.alloc(5)
    header.writeUInt32BE(LARGEST)
    const streams = await Promise.all(
      Array.from({ length: 200 }, async () => {
        const [near, far] = memoryPair()
        const first = frameStream(near, { maxFrame: LARGEST })[Symbol.asyncIterator]().next()
        for (const chunk of [header, Buffer.alloc(5000)]) {
          await new Promise<void>((resolve) => far.write(chunk, () => resolve()))
        }
        return { near, far, first }
      }),
    )
    await new Promise(setImmediate)
    // 200 × 64 MiB were announced.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(LARGEST)
    for (const { near, far, first } of streams) {
      far.end()
      await expect(first).rejects.toMatchObject({ code: 'ERR_ALKNET_FRAME_INVALID' })
      near.destroy()
    }
  })
})

describe('event frames', () => {
  /** Sends each body, and a good event after it; counts the errors that each was worth. */
  async function verdicts(bodies: Iterable<{ name: string; body: Buffer }>): Promise<number> {
    const [near, far] = memoryPair()
    const errors: AlknetError[] = []
    const target = createAlknetEventTarget<CustomEvent<unknown>>({ stream: near })
    target.onerror = ({ detail }) => errors.push(detail as AlknetError)
    const sender = frameStream(far, { maxFrame: LARGEST })
    let dropped = 0
    for (const { name, body } of bodies) {
      if (body.length === 0) continue
      const good = new Promise((resolve) => {
        target.addEventListener('a good one', resolve, { once: true })
      })
      await sender.send(body)
      await sender.send('{"type":"a good one","id":"","payload":null}')
      await good
      const codes = errors.splice(0).map(({ code }) => code)
      expect(codes.length, name).toBeLessThanOrEqual(1)
      for (const code of codes) expect(code, name).toBe('ERR_ALKNET_FRAME_INVALID')
      dropped += codes.length
    }
    await Promise.all([target.close(), sender.close()])
    return dropped
  }

  it('that are broken harm no other, for all that the fuzzer has kept', async () => {
    const bodies = corpus('envelope').map(({ name, input }) => ({ name, body: input }))
    const dropped = await verdicts(bodies)
    expect(dropped).toBeGreaterThan(20)
    expect(dropped).toBeLessThan(bodies.length)
  })

  it('that were damaged on their way harm no other', async () => {
    const random = new Random()
    const damaged = Array.from({ length: 500 }, (_, round) => {
      const event = { type: random.text(), id: random.text(), payload: random.json(4) }
      const body = Buffer.from(JSON.stringify(event))
      body[random.below(body.length)] = random.below(256)
      const length = random.below(2) === 0 ? body.length : random.below(body.length)
      return { name: `round ${round}, seed ${random.seed}`, body: body.subarray(0, length) }
    })
    expect(await verdicts(damaged)).toBeGreaterThan(50)
  })
})
