import { readFileSync } from 'node:fs'
import { Duplex } from 'node:stream'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  type AlknetEventTarget,
  type AlknetEventTargetOptions,
  createAlknetEventTarget,
  type EventEnvelope,
  type FrameStream,
  frameStream,
} from '../index.js'
import { closing } from './support/alknet.js'
import { memoryPair, pairs } from './support/duplexes.js'
import { Random } from './support/random.js'

type Options = Omit<AlknetEventTargetOptions, 'stream'>
interface BodyCase {
  name: string
  body: string
}
const vectors: {
  good: (BodyCase & EventEnvelope & { topic: string })[]
  bad: BodyCase[]
  control: (BodyCase & { kind: string; topics: string[] })[]
} = JSON.parse(readFileSync(new URL('vectors/envelopes.json', import.meta.url), 'utf8'))

/** A target whose other end is the test, frame by frame. */
class Peer {
  readonly target: AlknetEventTarget
  readonly stream: Duplex
  readonly errors: NodeJS.ErrnoException[] = []
  readonly #frames: FrameStream
  readonly #received: AsyncIterator<Buffer>
  readonly #envelopes: boolean

  constructor(options?: Options) {
    const [near, far] = memoryPair()
    this.stream = near
    this.#envelopes = options?.detail === 'envelope'
    this.target = createAlknetEventTarget({ stream: near, ...options })
    this.target.onerror = ({ detail }) => this.errors.push(detail)
    this.#frames = frameStream(far, { maxFrame: 64 * 2 ** 20 })
    this.#received = this.#frames[Symbol.asyncIterator]()
  }

  send(body: string | Uint8Array): Promise<void> {
    return this.#frames.send(body)
  }

  sendEvent(type: string, payload: unknown, id = ''): Promise<void> {
    return this.send(JSON.stringify({ type, id, payload }))
  }

  async next(): Promise<unknown> {
    const { done, value } = await this.#received.next()
    return done ? 'end' : JSON.parse(value.toString())
  }

  /**
   * All frames that the target has sent once it knows all that was sent to it. Ends with an event, as events keep their order
   * among themselves but not with acknowledgements.
   */
  async sent(): Promise<unknown[]> {
    const mark = { type: 'end of test', id: '', payload: null }
    await this.sendEvent('__subscribe', { topic: mark.type })
    const frames: unknown[] = []
    for (;;) {
      const frame = (await this.next()) as EventEnvelope<string, { topic?: string } | null>
      if (frame.type === mark.type) return frames
      if (frame.payload?.topic === mark.type) {
        await this.target.drained()
        this.target.dispatchEvent(event(mark.type, this.#envelopes ? mark : null))
      } else frames.push(frame)
    }
  }

  close(): Promise<void> {
    return this.#frames.close()
  }
}

/** Two targets on one stream. */
async function targets(makePair = async () => memoryPair(), options?: Options) {
  const [near, far] = await makePair()
  return [
    createAlknetEventTarget({ stream: near, ...options }),
    createAlknetEventTarget({ stream: far, ...options }),
  ] as const
}

function event(type: string, detail?: unknown): CustomEvent<unknown> & { type: string } {
  return new CustomEvent(type, { detail })
}

/** What listeners of `topic` get from now on. */
function heard(target: AlknetEventTarget, topic: string): unknown[] {
  const details: unknown[] = []
  target.addEventListener(topic, ({ detail }) => details.push(detail))
  return details
}

/** Resolves with the next detail of `topic`, after subscribing to it. */
async function next(
  target: AlknetEventTarget,
  topic: string,
): Promise<{ detail: Promise<unknown> }> {
  const detail = new Promise((resolve) => {
    target.addEventListener(topic, (event) => resolve(event.detail), { once: true })
  })
  expect(await target.ready(topic)).toBe(true)
  return { detail }
}

const control = (type: string, topic: string) => ({ type, id: '', payload: { topic } })

/** Errors that the platform reports as uncaught while the test runs. */
function uncaught(): { errors: unknown[]; restore(): void } {
  const errors: unknown[] = []
  const others = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  const listener = (error: unknown) => errors.push(error)
  process.on('uncaughtException', listener)
  const restore = () => {
    process.off('uncaughtException', listener)
    for (const other of others) {
      if (!process.listeners('uncaughtException').includes(other)) {
        process.on('uncaughtException', other)
      }
    }
  }
  onTestFinished(restore)
  return { errors, restore }
}

describe('dispatchEvent', () => {
  it.each(pairs)('reaches the listeners of the other end over %s', async (_kind, makePair) => {
    const [left, right] = await targets(makePair)
    const { detail } = await next(left, 'greeting')
    expect(right.dispatchEvent(event('greeting', { text: 'hello' }))).toBe(true)
    expect(await detail).toEqual({ text: 'hello' })
    await left.close()
    await right.closed
  })

  it('does not fire listeners of its own end', async () => {
    const peer = new Peer()
    const own = heard(peer.target, 'a')
    peer.target.dispatchEvent(event('a', 1))
    expect(await peer.sent()).toEqual([
      control('__subscribe', 'a'),
      { type: 'a', id: '', payload: 1 },
    ])
    expect(own).toEqual([])
  })

  it('sends the type whole and the detail as payload, undefined as null', async () => {
    const peer = new Peer()
    peer.target.dispatchEvent(event('a:b:1', { x: [1] }))
    peer.target.dispatchEvent(event('nothing'))
    peer.target.dispatchEvent(new Event('plain') as never)
    peer.target.dispatchEvent(event('symbol', Symbol('x')))
    expect(await peer.sent()).toEqual([
      { type: 'a:b:1', id: '', payload: { x: [1] } },
      { type: 'nothing', id: '', payload: null },
      { type: 'plain', id: '', payload: null },
      { type: 'symbol', id: '', payload: null },
    ])
  })

  it('sends what the detail is at that time', async () => {
    const peer = new Peer()
    const detail = { n: 1 }
    peer.target.dispatchEvent(event('a', detail))
    detail.n = 2
    expect(await peer.sent()).toEqual([{ type: 'a', id: '', payload: { n: 1 } }])
  })

  it('sends everything until the peer subscribes, then only what it subscribed to', async () => {
    const peer = new Peer()
    peer.target.dispatchEvent(event('a', 1))
    expect(await peer.next()).toEqual({ type: 'a', id: '', payload: 1 })
    await peer.sendEvent('__subscribe', { topic: 'b' })
    expect(await peer.next()).toEqual(control('__subscribed', 'b'))
    expect(peer.target.dispatchEvent(event('a', 2))).toBe(true)
    peer.target.dispatchEvent(event('b', 3))
    expect(await peer.sent()).toEqual([{ type: 'b', id: '', payload: 3 }])
    await peer.sendEvent('__unsubscribe', { topic: 'b' })
    expect(await peer.sent()).toEqual([])
    peer.target.dispatchEvent(event('b', 4))
    expect(await peer.sent()).toEqual([])
  })

  it('refuses reserved and overlong types, and details that are no JSON', () => {
    const { target } = new Peer()
    const loop: { self?: unknown } = {}
    loop.self = loop
    for (const refused of [
      event('__subscribe', { topic: 'a' }),
      event('__anything'),
      event('é'.repeat(129)),
      event('a', loop),
      event('a', 1n),
    ]) {
      expect(() => target.dispatchEvent(refused)).toThrow(TypeError)
    }
    expect(target.dispatchEvent(event('é'.repeat(128)))).toBe(true)
  })

  it('refuses an event that the other end would have to refuse', async () => {
    const peer = new Peer({ maxFrame: 100 })
    const code = (detail: unknown) => {
      try {
        return peer.target.dispatchEvent(event('a', detail))
      } catch (error) {
        return (error as NodeJS.ErrnoException).code
      }
    }
    expect(code('x'.repeat(100))).toBe('ERR_ALKNET_FRAME_TOO_LARGE')
    expect(code('é'.repeat(40))).toBe('ERR_ALKNET_FRAME_TOO_LARGE')
    expect(code('x'.repeat(40))).toBe(true)
    const { target } = new Peer()
    const nest = (levels: number) => JSON.parse('['.repeat(levels) + ']'.repeat(levels))
    expect(() => target.dispatchEvent(event('a', nest(64)))).toThrow('deeper than 64')
    expect(target.dispatchEvent(event('a', nest(63)))).toBe(true)
  })

  it('refuses an envelope of its own type with a hint, and no other', () => {
    const { target } = new Peer()
    const envelope = { type: 'a', id: '1', payload: null }
    expect(() => target.dispatchEvent(event('a', envelope))).toThrow("detail: 'envelope'")
    expect(() => target.dispatchEvent(event('a:1', envelope))).toThrow(TypeError)
    expect(target.dispatchEvent(event('b', envelope))).toBe(true)
  })

  it('sends the events of one turn in one write and a single one in the same turn', async () => {
    const written: number[] = []
    const stream = new Duplex({
      read() {},
      write(chunk: Buffer, _encoding, done) {
        written.push(chunk.length)
        done()
      },
    })
    const target = createAlknetEventTarget({ stream })
    for (let i = 0; i < 100; i += 1) target.dispatchEvent(event('a', 1))
    await new Promise(process.nextTick)
    target.dispatchEvent(event('a', 1))
    await new Promise(process.nextTick)
    expect(written).toEqual([100 * 36, 36])
    stream.destroy()
  })
})

describe('listeners', () => {
  it.each(vectors.good)('get $name', async ({ body, type, id, payload, topic }) => {
    const seen: unknown[] = []
    for (const detail of ['payload', 'envelope'] as const) {
      const peer = new Peer({ detail })
      peer.target.addEventListener(topic, (event) => {
        expect(event.type).toBe(topic)
        expect(event.target).toBe(peer.target)
        seen.push(event.detail)
      })
      await peer.send(Buffer.from(body, 'hex'))
      await peer.sent()
      expect(peer.errors).toEqual([])
    }
    expect(seen).toEqual([payload, { type, id, payload }])
    expect(({} as { x?: unknown }).x).toBeUndefined()
  })

  it('subscribe with the first of a topic and unsubscribe with the last', async () => {
    const peer = new Peer()
    const { target } = peer
    const [one, two] = [() => {}, { handleEvent: () => {} }]
    target.addEventListener('a', one)
    target.addEventListener('a', one)
    target.addEventListener('a', two)
    target.addEventListener('a', two, { capture: true })
    target.addEventListener('b', null)
    target.removeEventListener('a', () => {})
    target.removeEventListener('c', one)
    target.removeEventListener('a', null)
    expect(await peer.sent()).toEqual([control('__subscribe', 'a')])
    target.removeEventListener('a', one)
    target.removeEventListener('a', two)
    expect(await peer.sent()).toEqual([])
    target.removeEventListener('a', two, true)
    target.removeEventListener('a', two, true)
    target.addEventListener('a', one)
    expect(await peer.sent()).toEqual([control('__unsubscribe', 'a'), control('__subscribe', 'a')])
  })

  it('unsubscribe after the one event they were added for', async () => {
    const peer = new Peer()
    const seen: unknown[] = []
    peer.target.addEventListener('a', ({ detail }) => seen.push(detail), { once: true })
    await peer.sendEvent('a', 1)
    await peer.sendEvent('a', 2)
    expect(await peer.sent()).toEqual([control('__subscribe', 'a'), control('__unsubscribe', 'a')])
    expect(seen).toEqual([1])
  })

  it('may add themselves again while they are called once', async () => {
    const peer = new Peer()
    const seen: unknown[] = []
    const listener = ({ detail }: { detail: unknown }) => {
      seen.push(detail)
      peer.target.addEventListener('a', listener, { once: true })
    }
    peer.target.addEventListener('a', listener, { once: true })
    for (const n of [1, 2, 3]) await peer.sendEvent('a', n)
    await peer.sent()
    expect(seen).toEqual([1, 2, 3])
  })

  it('unsubscribe when their signal is aborted, and leave nothing on it', async () => {
    const peer = new Peer()
    const controller = new AbortController()
    const { signal } = controller
    const [add, remove] = [
      vi.spyOn(signal, 'addEventListener'),
      vi.spyOn(signal, 'removeEventListener'),
    ]
    const seen = heard(peer.target, 'b')
    const listener = () => {}
    peer.target.addEventListener('a', listener, { signal })
    peer.target.addEventListener('c', listener, { signal })
    peer.target.removeEventListener('c', listener)
    expect(await peer.sent()).toEqual([
      ...['b', 'a', 'c'].map((topic) => control('__subscribe', topic)),
      control('__unsubscribe', 'c'),
    ])
    controller.abort()
    peer.target.addEventListener('d', listener, { signal })
    await peer.sendEvent('b', 1)
    expect(await peer.sent()).toEqual([control('__unsubscribe', 'a')])
    expect(seen).toEqual([1])
    expect(remove.mock.calls.length).toBe(add.mock.calls.length)
  })

  it('are called in order, as function or object, with the right this', async () => {
    const peer = new Peer()
    const seen: unknown[] = []
    const object = {
      handleEvent(): void {
        seen.push(this)
      },
    }
    peer.target.addEventListener('a', function (this: unknown) {
      seen.push(this)
    })
    peer.target.addEventListener('a', object)
    await peer.sendEvent('a', 1)
    await peer.sent()
    expect(seen).toEqual([peer.target, object])
  })

  it('go on when another one throws', async () => {
    const { errors, restore } = uncaught()
    const peer = new Peer()
    peer.target.addEventListener('a', () => {
      throw new Error('from a listener')
    })
    const seen = heard(peer.target, 'a')
    await peer.sendEvent('a', 1)
    await peer.sendEvent('a', 2)
    await peer.sent()
    restore()
    expect(seen).toEqual([1, 2])
    expect(errors).toEqual([new Error('from a listener'), new Error('from a listener')])
    expect(peer.errors).toEqual([])
  })

  it('never get reserved events', async () => {
    const peer = new Peer()
    expect(() => peer.target.addEventListener('__presence', () => {})).toThrow(TypeError)
    await peer.sendEvent('__presence', 1)
    await peer.sent()
    expect(peer.errors).toEqual([])
  })

  it('get events named error and close from the peer only', async () => {
    const peer = new Peer()
    const [errors, closes] = [heard(peer.target, 'error'), heard(peer.target, 'close')]
    await peer.sendEvent('error', 1)
    await peer.sendEvent('close', 2)
    await peer.send('not JSON')
    await peer.sent()
    await peer.close()
    await peer.target.closed
    expect([errors, closes]).toEqual([[1], [2]])
    expect(peer.errors.length).toBe(1)
  })

  it('are refused beyond 1024 topics and 256 bytes', async () => {
    const peer = new Peer()
    for (let i = 0; i < 1024; i += 1) peer.target.addEventListener(`t${i}`, () => {})
    expect(() => peer.target.addEventListener('one more', () => {})).toThrow(TypeError)
    peer.target.addEventListener('t1', () => {})
    expect((await peer.sent()).length).toBe(1024)
    expect(() => peer.target.addEventListener('x'.repeat(257), () => {})).toThrow(TypeError)
  })
})

describe('control messages', () => {
  it.each(vectors.control)('read $name', async ({ body, kind, topics }) => {
    const peer = new Peer()
    if (kind === 'unsubscribe')
      for (const topic of topics) await peer.sendEvent('__subscribe', topic)
    for (const topic of topics) if (kind === 'subscribed') heard(peer.target, topic)
    const ready = kind === 'subscribed' && topics.map((topic) => peer.target.ready(topic))
    await peer.send(Buffer.from(body, 'hex'))
    await peer.sent() // what came before has been read
    for (const topic of [...topics, 'other']) peer.target.dispatchEvent(event(topic))
    const sent = (await peer.sent()) as EventEnvelope[]
    const events = sent.filter(({ type }) => !type.startsWith('__'))
    expect(events.map(({ type }) => type)).toEqual(kind === 'subscribe' ? topics : [])
    expect(peer.errors.length).toBe(kind === 'invalid' ? 1 : 0)
    if (ready) expect(await Promise.all(ready)).toEqual(topics.map(() => true))
  })

  it('are acknowledged with what they said', async () => {
    const peer = new Peer()
    for (const payload of ['a', { topic: 'b', why: 1 }, { topics: ['c', 'd'] }]) {
      await peer.sendEvent('__subscribe', payload, 'x')
      expect(await peer.next()).toEqual({ type: '__subscribed', id: 'x', payload })
    }
  })

  it('do not subscribe to more than the limits, and say so', async () => {
    const peer = new Peer()
    const many = Array.from({ length: 1024 }, (_, i) => `t${i}`)
    await peer.sendEvent('__subscribe', { topics: many })
    await peer.next()
    await peer.sendEvent('__subscribe', { topics: ['one more', 't0'] })
    expect(await peer.next()).toEqual({ type: '__subscribed', id: '', payload: { topics: ['t0'] } })
    await peer.sendEvent('__unsubscribe', { topics: many })
    await peer.sendEvent('__subscribe', { topics: ['__x', 'x'.repeat(257), 'a'] })
    expect(await peer.next()).toEqual({ type: '__subscribed', id: '', payload: { topics: ['a'] } })
    expect(peer.errors.map(({ code }) => code)).toEqual(Array(2).fill('ERR_ALKNET_FRAME_INVALID'))
  })

  it('that are never read do not fill the memory', async () => {
    const peer = new Peer()
    const closed = closing(peer.stream)
    const padding = 'x'.repeat(100_000)
    while (peer.errors.length === 0) {
      void peer.sendEvent('__subscribe', { topic: 'a', padding })
      await new Promise(setImmediate)
    }
    expect(await closed).toMatchObject({ code: 'ENOBUFS' })
    expect(peer.errors.map(({ code }) => code)).toEqual(['ENOBUFS'])
  })
})

describe('ready', () => {
  it('is true once the other end knows', async () => {
    const [left, right] = await targets()
    const early = left.ready('a')
    const details = heard(left, 'a')
    expect(await early).toBe(true)
    expect(await left.ready('a')).toBe(true)
    const answered = next(right, 'b')
    right.dispatchEvent(event('a', 1))
    await answered
    expect(details).toEqual([1])
  })

  it('is false after 2 s with a peer that knows no acknowledgements', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const peer = new Peer()
    heard(peer.target, 'a')
    const ready = peer.target.ready('a')
    let settled = false
    void ready.then(() => {
      settled = true
    })
    await vi.advanceTimersByTimeAsync(1999)
    expect(settled).toBe(false)
    await vi.advanceTimersByTimeAsync(1)
    expect(await ready).toBe(false)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('does not take an old acknowledgement for a new one', async () => {
    const peer = new Peer()
    const listener = () => {}
    peer.target.addEventListener('a', listener)
    peer.target.removeEventListener('a', listener)
    peer.target.addEventListener('a', listener)
    let ready = false
    const wait = peer.target.ready('a').then(() => {
      ready = true
    })
    await peer.sendEvent('__subscribed', { topic: 'a' })
    await peer.sent()
    expect(ready).toBe(false)
    await peer.sendEvent('__subscribed', { topic: 'a' })
    await wait
  })

  it('is false on a target that is closed or closes meanwhile', async () => {
    const peer = new Peer()
    const ready = peer.target.ready('a')
    void peer.close()
    expect(await ready).toBe(false)
    expect(await peer.target.ready('a')).toBe(false)
  })
})

describe('bad frames', () => {
  it.each(vectors.bad)('drop $name and go on', async ({ body }) => {
    const peer = new Peer()
    const seen = heard(peer.target, 'good')
    await peer.send(Buffer.from(body, 'hex'))
    await peer.sendEvent('good', 1)
    await peer.sent()
    expect(seen).toEqual([1])
    expect(peer.errors.map(({ code }) => code)).toEqual(['ERR_ALKNET_FRAME_INVALID'])
  })

  it('end the stream when 16 follow each other, and not before', async () => {
    const peer = new Peer()
    for (let round = 0; round < 2; round += 1) {
      for (let i = 0; i < 15; i += 1) await peer.send('bad')
      await peer.sendEvent('good', 1)
    }
    await peer.sent()
    expect(peer.errors.length).toBe(30)
    const closed = closing(peer.stream)
    for (let i = 0; i < 16; i += 1) void peer.send('bad').catch(() => {})
    expect(await closed).toMatchObject({ code: 'ERR_ALKNET_FRAME_INVALID' })
    expect(peer.errors.length).toBe(46)
    expect(await peer.target.closed).toBe(peer.errors.at(-1))
  })

  it.each([
    ['an empty frame', '00000000', 'ERR_ALKNET_FRAME_INVALID'],
    ['a frame that is too long', '00100001', 'ERR_ALKNET_FRAME_TOO_LARGE'],
  ])('destroy the stream after %s', async (_what, wire, code) => {
    const [near, far] = memoryPair()
    const target = createAlknetEventTarget({ stream: near })
    far.write(Buffer.from(wire, 'hex'))
    expect(await target.closed).toMatchObject({ code })
    expect(near.destroyed).toBe(true)
  })

  it('are reported when the stream ends inside one', async () => {
    const [near, far] = memoryPair()
    const target = createAlknetEventTarget({ stream: near })
    far.resume().end(Buffer.from('00000009', 'hex'))
    expect(await target.closed).toMatchObject({ code: 'ERR_ALKNET_FRAME_INVALID' })
  })
})

describe("detail: 'envelope'", () => {
  it('carries envelopes both ways, by type or type:id', async () => {
    const [left, right] = await targets(undefined, { detail: 'envelope' })
    const [all, one] = [heard(left, 'a'), heard(left, 'a:1')]
    const { detail } = await next(left, 'end')
    const envelopes = [
      { type: 'a', id: '', payload: 1 },
      { type: 'a', id: '1', payload: 2 },
      { type: 'a', id: '2', payload: 3 },
    ]
    for (const envelope of envelopes) right.dispatchEvent(event('a', envelope))
    right.dispatchEvent(event('a:1', { type: 'a', id: '1', payload: undefined }))
    right.dispatchEvent(event('end', { type: 'end', id: '', payload: null }))
    await detail
    expect(all).toEqual([envelopes[0]])
    expect(one).toEqual([envelopes[1], { type: 'a', id: '1', payload: null }])
  })

  it('refuses what is no envelope, or one of another event', () => {
    const { target } = new Peer({ detail: 'envelope' })
    for (const detail of [undefined, 'a', {}, { type: 'a', id: '' }, { type: 'a', payload: 1 }]) {
      expect(() => target.dispatchEvent(event('a', detail))).toThrow(TypeError)
    }
    const envelope = { type: 'a', id: '1', payload: 1 }
    expect(() => target.dispatchEvent(event('b', envelope))).toThrow(TypeError)
    expect(() => target.dispatchEvent(event('__a', { ...envelope, type: '__a' }))).toThrow(
      TypeError,
    )
  })
})

describe('a peer that does not read', () => {
  const big = 'x'.repeat(1000)

  /** Dispatches numbered events until the target answers false, throws or has taken `limit`. */
  function fill(target: AlknetEventTarget, limit = 1000): { count: number; error?: unknown } {
    for (let count = 0; count < limit; count += 1) {
      try {
        if (!target.dispatchEvent(event('n', { count, big }))) return { count }
      } catch (error) {
        return { count, error }
      }
    }
    return { count: limit }
  }

  /** The numbers that arrive once the peer does read. */
  async function numbers(peer: Peer): Promise<number[]> {
    const frames = (await peer.sent()) as EventEnvelope<string, { count: number }>[]
    return frames.map(({ payload }) => payload.count)
  }

  it('makes dispatchEvent throw ENOBUFS, after which all that was taken arrives', async () => {
    const peer = new Peer({ maxBuffered: 50_000 })
    const { count, error } = fill(peer.target)
    expect(error).toMatchObject({ code: 'ENOBUFS' })
    expect(peer.target.bufferedAmount).toBeLessThanOrEqual(50_000)
    expect(peer.target.bufferedAmount).toBeGreaterThan(48_000)
    const drained = peer.target.drained()
    expect(await numbers(peer)).toEqual(Array.from({ length: count }, (_, i) => i))
    await drained
    expect(peer.errors).toEqual([])
  })

  it('loses the newest events when asked to', async () => {
    const peer = new Peer({ maxBuffered: 50_000, onOverflow: 'drop-newest' })
    const { count } = fill(peer.target)
    expect(count).toBeGreaterThan(40)
    expect(await numbers(peer)).toEqual(Array.from({ length: count }, (_, i) => i))
  })

  it('loses the oldest events when asked to, and no control messages', async () => {
    const peer = new Peer({ maxBuffered: 50_000, onOverflow: 'drop-oldest' })
    heard(peer.target, 'kept')
    expect(fill(peer.target).count).toBe(1000)
    expect(peer.target.bufferedAmount).toBeLessThanOrEqual(50_000)
    expect(await peer.next()).toEqual(control('__subscribe', 'kept'))
    const arrived = await numbers(peer)
    const first = 1000 - arrived.length
    expect(arrived).toEqual(Array.from({ length: arrived.length }, (_, i) => first + i))
    expect(arrived.length).toBeGreaterThan(40)
  })

  it('is disconnected when asked to', async () => {
    const peer = new Peer({ maxBuffered: 50_000, onOverflow: 'disconnect' })
    fill(peer.target)
    expect(peer.target.dispatchEvent(event('n'))).toBe(false)
    expect(await peer.target.closed).toMatchObject({ code: 'ENOBUFS' })
    expect(peer.errors.length).toBe(1)
  })

  it('still gets a single event that is larger than the bound', async () => {
    const peer = new Peer({ maxBuffered: 10 })
    expect(peer.target.dispatchEvent(event('n', { count: 7, big }))).toBe(true)
    expect(await numbers(peer)).toEqual([7])
  })
})

describe('the end', () => {
  it('sends what was dispatched before close() and closes both ends', async () => {
    const [left, right] = await targets()
    const closes: unknown[] = []
    right.onclose = ({ type, detail }) => closes.push([type, detail])
    const { detail } = await next(right, 'last')
    left.dispatchEvent(event('last', 1))
    await left.close()
    expect(await detail).toBe(1)
    expect(await right.closed).toBeUndefined()
    expect(closes).toEqual([['close', null]])
  })

  it('stops everything, once', async () => {
    const peer = new Peer()
    const seen = heard(peer.target, 'a')
    const closed = peer.target.close()
    expect(peer.target.dispatchEvent(event('a'))).toBe(false)
    void peer.sendEvent('a', 1)
    const ended = peer.close()
    await Promise.all([closed, peer.target.close(), ended])
    expect(seen).toEqual([])
    expect(peer.errors).toEqual([])
    await expect(peer.target.drained()).rejects.toMatchObject({ code: 'ERR_ALKNET_SESSION_CLOSED' })
    peer.target.addEventListener('late', () => {})
  })

  it('closes within 10 s of close() when the peer does not end', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const [near] = memoryPair()
    const target = createAlknetEventTarget({ stream: near })
    const closed = target.close()
    await vi.advanceTimersByTimeAsync(10_000)
    await closed
    expect(near.destroyed).toBe(true)
  })

  it('tells why the stream failed, and nobody has to listen', async () => {
    const [near, far] = memoryPair()
    const target = createAlknetEventTarget({ stream: near })
    const reason = new Error('cable')
    near.destroy(reason)
    expect(await target.closed).toBe(reason)
    expect(target.dispatchEvent(event('a'))).toBe(false)
    far.destroy()
  })

  it('comes at once on a stream that is closed already', async () => {
    const [near] = memoryPair()
    const closed = closing(near)
    near.destroy()
    await closed
    const target = createAlknetEventTarget({ stream: near })
    expect(target.dispatchEvent(event('a'))).toBe(false)
    expect(await target.closed).toBeUndefined()
    await target.close()
  })

  it('survives handlers that throw', async () => {
    const { errors, restore } = uncaught()
    const peer = new Peer()
    const seen = heard(peer.target, 'a')
    peer.target.onerror = () => {
      throw new Error('from onerror')
    }
    await peer.send('bad')
    await peer.sendEvent('a', 1)
    await peer.sent()
    restore()
    expect(seen).toEqual([1])
    expect(errors).toEqual([new Error('from onerror')])
  })

  it('is disposal', async () => {
    const peer = new Peer()
    {
      await using target = peer.target
      void peer.close()
      target.dispatchEvent(event('a'))
    }
    expect(peer.stream.closed).toBe(true)
  })
})

describe('options', () => {
  it('are refused when they make no sense', () => {
    const [stream] = memoryPair()
    for (const options of [
      undefined,
      {},
      { stream: 1 },
      { stream, detail: 'all' },
      { stream, onOverflow: 'wait' },
      { stream, maxBuffered: -1 },
      { stream, maxFrame: 0 },
    ]) {
      expect(() => createAlknetEventTarget(options as never)).toThrow(TypeError)
    }
  })
})

it.each(pairs)('any events arrive unchanged and in order over %s', async (_kind, makePair) => {
  const random = new Random()
  const [left, right] = await targets(makePair)
  const details = heard(left, 'any')
  const { detail: end } = await next(left, 'end')
  const sent = Array.from({ length: 1000 }, () => random.json(random.below(6)))
  for (const detail of sent) {
    right.dispatchEvent(event('any', detail))
    if (random.below(10) === 0) await right.drained()
  }
  right.dispatchEvent(event('end'))
  await end
  expect(details, `seed ${random.seed}`).toEqual(JSON.parse(JSON.stringify(sent)))
  await left.close()
})
