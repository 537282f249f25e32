import { readFileSync } from 'node:fs'
import { Duplex } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { AlknetError, type FrameStream, frameStream } from '../index.js'
import { closing, rejection } from './support/alknet.js'
import { memoryPair, pairs } from './support/duplexes.js'
import { Random } from './support/random.js'

interface Case {
  name: string
  wire: string
  frames: string[]
  maxFrame?: number
  error?: string
}
const vectors: Record<'good' | 'bad' | 'cut', Case[]> = JSON.parse(
  readFileSync(new URL('vectors/frames.json', import.meta.url), 'utf8'),
)

/** All messages until the end, and what ended them. */
async function collect(messages: FrameStream): Promise<{ frames: string[]; error?: string }> {
  const frames: string[] = []
  try {
    for await (const message of messages) frames.push(message.toString('hex'))
    return { frames }
  } catch (error) {
    expect(error).toBeInstanceOf(AlknetError)
    return { frames, error: (error as AlknetError).code }
  }
}

/** What a frame stream makes of `chunks`, followed by an end. */
async function decode(chunks: Buffer[], maxFrame?: number) {
  const [near, far] = memoryPair()
  const collected = collect(frameStream(near, maxFrame === undefined ? {} : { maxFrame }))
  for (const chunk of chunks) if (chunk.length > 0) far.write(chunk)
  far.end()
  return collected
}

function* everySplit(wire: Buffer): Generator<Buffer[]> {
  for (let at = 0; at <= wire.length; at += 1) yield [wire.subarray(0, at), wire.subarray(at)]
  yield Array.from(wire, (byte) => Buffer.from([byte]))
}

/** A stream whose far end is the test: what is written is kept, and answered only when asked to. */
class Held extends Duplex {
  readonly written: Buffer[] = []
  #release: (() => void) | undefined

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.written.push(chunk)
    this.#release = done
  }

  release(): void {
    const release = this.#release
    this.#release = undefined
    release?.()
  }
}

describe('frameStream', () => {
  it.each(vectors.good)('cuts $name into its messages wherever chunks end', async (vector) => {
    for (const chunks of everySplit(Buffer.from(vector.wire, 'hex'))) {
      expect(await decode(chunks)).toEqual({ frames: vector.frames })
    }
  })

  it.each([...vectors.bad, ...vectors.cut])(
    'gives what was good of $name and then fails',
    async ({ wire, frames, maxFrame, error }) => {
      for (const chunks of everySplit(Buffer.from(wire, 'hex'))) {
        expect(await decode(chunks, maxFrame)).toEqual({ frames, error })
      }
    },
  )

  it.each(vectors.good)('sends the bytes of $name', async ({ wire, frames }) => {
    const [near, far] = memoryPair()
    const messages = frameStream(near)
    for (const frame of frames) await messages.send(Buffer.from(frame, 'hex'))
    void messages.close()
    far.end()
    const sent: Buffer[] = []
    for await (const chunk of far) sent.push(chunk as Buffer)
    expect(Buffer.concat(sent).toString('hex')).toBe(wire)
  })

  it('destroys a stream that cannot be cut into frames', async () => {
    const [near, far] = memoryPair()
    const closed = closing(near)
    const collected = collect(frameStream(near))
    far.write(Buffer.alloc(4))
    expect((await collected).error).toBe('ERR_ALKNET_FRAME_INVALID')
    expect(await closed).toMatchObject({ code: 'ERR_ALKNET_FRAME_INVALID' })
    expect(near.destroyed).toBe(true)
  })

  it.each(pairs)('carries any messages over %s', async (_kind, makePair) => {
    const random = new Random()
    const [near, far] = await makePair()
    const [sender, receiver] = [frameStream(near), frameStream(far)]
    const sent = Array.from({ length: 500 }, () =>
      random.below(2) === 0
        ? random.bytes(1 + random.below(random.pick([4, 300, 70_000])))
        : `.${random.text()}`,
    )
    const collected = collect(receiver)
    for (const message of sent) await sender.send(message)
    const closed = sender.close()
    const { frames, error } = await collected
    expect(error).toBeUndefined()
    const expected = sent.map((message) => Buffer.from(message).toString('hex'))
    expect(frames.length, `seed ${random.seed}`).toBe(expected.length)
    for (const [index, frame] of frames.entries()) {
      if (frame !== expected[index]) throw new Error(`message ${index}, seed ${random.seed}`)
    }
    await Promise.all([closed, receiver.close()])
  })

  it('sends the messages of one turn in one write', async () => {
    const stream = new Held()
    const messages = frameStream(stream)
    for (let i = 0; i < 100; i += 1) void messages.send('x')
    expect(stream.written).toEqual([])
    expect(messages.bufferedAmount).toBe(500)
    await new Promise(process.nextTick)
    expect(stream.written.map((chunk) => chunk.length)).toEqual([500])
    stream.destroy()
  })

  it('makes send() wait for a stream that is full, and no longer', async () => {
    const stream = new Held()
    const messages = frameStream(stream)
    let went = false
    const sent = messages.send(Buffer.alloc(100_000)).then(() => {
      went = true
    })
    await new Promise(setImmediate)
    expect(went).toBe(false)
    stream.release()
    await sent
    expect(messages.bufferedAmount).toBe(0)
    stream.destroy()
  })

  it('reads nothing that nobody asked for', async () => {
    const [near, far] = memoryPair()
    const messages = frameStream(near)
    const sender = frameStream(far)
    let waiting = false
    while (!waiting) {
      waiting = await Promise.race([
        sender.send(Buffer.alloc(10_000)).then(() => false),
        new Promise<boolean>((resolve) => setImmediate(resolve, true)),
      ])
    }
    expect(sender.bufferedAmount).toBeGreaterThan(0)
    for await (const message of messages) {
      expect(message.length).toBe(10_000)
      break
    }
    expect(near.destroyed).toBe(false)
  })

  it('goes on with the next message after a loop was left', async () => {
    const [near, far] = memoryPair()
    const [messages, sender] = [frameStream(near), frameStream(far)]
    for (const word of ['one', 'two', 'three']) await sender.send(word)
    const words: string[] = []
    for await (const message of messages) {
      words.push(`${message}`)
      break
    }
    for await (const message of messages) {
      words.push(`${message}`)
      if (words.length === 3) break
    }
    expect(words).toEqual(['one', 'two', 'three'])
  })

  it('answers several next() in order', async () => {
    const [near, far] = memoryPair()
    const iterator = frameStream(near)[Symbol.asyncIterator]()
    const results = Promise.all([iterator.next(), iterator.next(), iterator.next()])
    const sender = frameStream(far)
    await sender.send('one')
    await sender.send('two')
    void sender.close()
    const [one, two, end] = await results
    expect([`${one?.value}`, `${two?.value}`, end?.done]).toEqual(['one', 'two', true])
  })

  it('refuses to send what could not be received, and goes on', async () => {
    const [near, far] = memoryPair()
    const messages = frameStream(near, { maxFrame: 4 })
    await expect(messages.send('12345')).rejects.toMatchObject({
      code: 'ERR_ALKNET_FRAME_TOO_LARGE',
    })
    await expect(messages.send('éé1')).rejects.toThrow(AlknetError)
    await expect(messages.send('')).rejects.toMatchObject({ code: 'ERR_ALKNET_FRAME_INVALID' })
    await messages.send('1234')
    const { value } = await frameStream(far)[Symbol.asyncIterator]().next()
    expect(`${value}`).toBe('1234')
  })

  it.each(pairs)('closes both ends over %s when one is closed', async (_kind, makePair) => {
    const [near, far] = await makePair()
    const [left, right] = [frameStream(near), frameStream(far)]
    await right.send('unread')
    const ended = collect(right)
    await Promise.all([left.close(), ended.then(() => right.close())])
    expect(await ended).toEqual({ frames: [] })
    await expect(left.send('late')).rejects.toMatchObject({ code: 'ERR_ALKNET_SESSION_CLOSED' })
    await left.close()
  })

  it('ends a loop that closes its own stream', async () => {
    const [near, far] = memoryPair()
    const [left, right] = [frameStream(near), frameStream(far)]
    await right.send('question')
    for await (const message of left) {
      expect(`${message}`).toBe('question')
      void collect(right).then(() => right.close())
      await left.close()
    }
    expect(near.closed).toBe(true)
  })

  it('delivers what had come before the stream failed, then the reason', async () => {
    const [near, far] = memoryPair()
    const [messages, sender] = [frameStream(near), frameStream(far)]
    const iterator = messages[Symbol.asyncIterator]()
    const first = iterator.next()
    for (const word of ['one', 'two']) void sender.send(word)
    await first
    const reason = new Error('cable')
    const closed = closing(near)
    near.destroy(reason)
    expect(await closed).toBe(reason)
    expect(`${(await iterator.next()).value}`).toBe('two')
    expect(await rejection(iterator.next())).toBe(reason)
    expect(await rejection(messages.send('x'))).toBe(reason)
  })

  it('raises no rejection for messages that nobody waited for', async () => {
    const stream = new Held()
    const closed = closing(stream)
    const messages = frameStream(stream)
    void messages.send(Buffer.alloc(100_000))
    void messages.send('x')
    stream.destroy()
    await closed
    void messages.send('late')
    // Time for one to be raised: Vitest fails the run when it is.
    await new Promise(setImmediate)
    expect(await rejection(messages.send('later'))).toMatchObject({
      code: 'ERR_ALKNET_SESSION_CLOSED',
    })
  })

  it('tells a stream that was cut from one that ended', async () => {
    const [near] = memoryPair()
    const collected = collect(frameStream(near))
    near.destroy()
    expect((await collected).error).toBe('ERR_ALKNET_SESSION_CLOSED')
  })

  it('disposes of itself', async () => {
    const [near, far] = memoryPair()
    far.resume().end()
    {
      await using messages = frameStream(near)
      await messages.send('x')
    }
    expect(near.closed).toBe(true)
  })

  it('refuses what is no stream and limits that are none', () => {
    const [near] = memoryPair()
    expect(() => frameStream(null as never)).toThrow(TypeError)
    expect(() => frameStream({} as never)).toThrow(TypeError)
    for (const maxFrame of [0, -1, 1.5, Number.NaN, 64 * 2 ** 20 + 1, '8' as never]) {
      expect(() => frameStream(near, { maxFrame })).toThrow(TypeError)
    }
  })
})
