import { readFile } from 'node:fs/promises'
import { describe, expect, it, vi } from 'vitest'
import {
  type AlknetEvent,
  type AlknetEventTarget,
  type AlknetServeOptions,
  type AlknetServer,
  connect,
  createAlknetEventTarget,
  frameStream,
  openSession,
} from '../index.js'
import { discard, reach, startServer } from './support/alknet.js'
import { afterwards } from './support/cleanup.js'
import { clientKey, strangerKey } from './support/keys.js'
import { freePort } from './support/net.js'

const event = (type: string, detail?: unknown) => new CustomEvent(type, { detail }) as AlknetEvent

/** A server with a bus. */
function busServer(options?: AlknetServeOptions): Promise<AlknetServer> {
  return startServer({ bus: true, ...options })
}

function busOf(server: AlknetServer): AlknetEventTarget {
  if (server.bus === undefined) throw new Error('the server has no bus')
  return server.bus
}

/** A client's event target on a stream of its own. */
async function member(
  server: AlknetServer,
  options?: { identity?: string; echo?: boolean },
): Promise<AlknetEventTarget & { errors: NodeJS.ErrnoException[] }> {
  const { echo = true, ...connecting } = options ?? {}
  const stream = discard(await connect({ ...(await reach(server)), ...connecting }))
  const target = createAlknetEventTarget({ stream, echo })
  const errors: NodeJS.ErrnoException[] = []
  target.onerror = ({ detail }) => errors.push(detail)
  return Object.assign(target, { errors })
}

/** The events of `topic`, from now on. */
async function heard(
  target: AlknetEventTarget,
  topic: string,
): Promise<AsyncIterator<AlknetEvent>> {
  const events = target.subscribe(topic)
  await vi.waitFor(async () => expect(await target.ready(topic)).toBe(true), 20_000)
  return events
}

async function next(events: AsyncIterator<AlknetEvent>): Promise<AlknetEvent> {
  const { done, value } = await events.next()
  if (done) throw new Error('the events have ended')
  return value
}

describe('a bus', () => {
  it('brings an event to every subscriber, with the key of its sender', async () => {
    const server = await busServer()
    const [one, two, publisher] = [await member(server), await member(server), await member(server)]
    const all = await Promise.all([one, two, busOf(server)].map((target) => heard(target, 'news')))
    publisher.dispatchEvent(event('news', { from: 'nobody' }))
    const { fingerprint } = await clientKey()
    for (const events of all) {
      const { detail, from } = await next(events)
      expect({ detail, from }).toEqual({ detail: { from: 'nobody' }, from: fingerprint })
    }
    busOf(server).dispatchEvent(event('news', 'of the program'))
    for (const events of all) {
      const { detail, from } = await next(events)
      expect({ detail, from }).toEqual({ detail: 'of the program', from: undefined })
    }
    expect(server.metrics().bus).toMatchObject({ members: 4, topics: 1, subscriptions: 3 })
  })

  it('believes no sender’s word on who it is', async () => {
    const server = await busServer()
    const events = await heard(busOf(server), 'news')
    const liar = frameStream(discard(await connect(await reach(server))))
    await liar.send(JSON.stringify({ type: 'news', id: '', payload: 1, from: 'SHA256:forged' }))
    expect((await next(events)).from).toBe((await clientKey()).fingerprint)
  })

  it('takes the streams, and without one they go to onConnection', async () => {
    const [with_, without] = [await busServer(), await startServer()]
    const taken = vi.fn()
    with_.onConnection(taken)
    await heard(await member(with_), 'x')
    expect(taken).not.toHaveBeenCalled()
    expect(without.bus).toBeUndefined()
    expect(without.metrics()).toEqual({})
    without.onConnection((stream) => {
      createAlknetEventTarget({ stream }).dispatchEvent(event('hello', 1))
    })
    const greeted = (await member(without)).subscribe('hello')
    expect((await next(greeted)).detail).toBe(1)
  })

  it('echoes to a publisher that is subscribed, unless that says no', async () => {
    const server = await busServer()
    const [loud, quiet] = [await member(server), await member(server, { echo: false })]
    const [echo, none] = [await heard(loud, 'x'), await heard(quiet, 'x')]
    quiet.dispatchEvent(event('x', 'of quiet'))
    expect((await next(echo)).detail).toBe('of quiet')
    loud.dispatchEvent(event('x', 'of loud'))
    expect((await next(echo)).detail).toBe('of loud')
    expect((await next(none)).detail).toBe('of loud')
  })

  it('lets a key do what its line permits, and says so when it does not', async () => {
    const [free, bound] = [await clientKey(), await strangerKey()]
    const options = 'permitpublish="chat:*",permitsubscribe="news"'
    const lines = await Promise.all([
      readFile(free.publicPath, 'utf8'),
      readFile(bound.publicPath, 'utf8').then((line) => `${options} ${line}`),
    ])
    const server = await busServer({ authorizedKeys: Buffer.from(lines.join('\n')) })
    const limited = await member(server, { identity: bound.path })
    const chat = await heard(await member(server), 'chat:1')
    limited.addEventListener('secrets', () => {})
    expect(await limited.ready('secrets')).toBe(false)
    limited.dispatchEvent(event('news', 'not mine to tell'))
    limited.dispatchEvent(event('chat:1', 'hello'))
    expect((await next(chat)).detail).toBe('hello')
    await heard(limited, 'news')
    expect(limited.errors.map(({ code, message }) => `${code} ${message}`)).toEqual([
      "EACCES the bus refuses to subscribe 'secrets': not_permitted",
      "EACCES the bus refuses to publish 'news': not_permitted",
    ])
    expect(server.metrics().bus).toMatchObject({ droppedNotPermitted: 1, refusedSubscriptions: 1 })
  })

  it('asks the program once for each topic and action', async () => {
    const asked: string[] = []
    const server = await busServer({
      bus: {
        authorize: async ({ user, keyFingerprint }, action, topic) => {
          expect([user, keyFingerprint]).toEqual(['alknet', (await clientKey()).fingerprint])
          asked.push(`${action} ${topic}`)
          return topic !== 'forbidden'
        },
      },
    })
    const client = await member(server)
    const events = await heard(client, 'allowed')
    client.addEventListener('forbidden', () => {})
    expect(await client.ready('forbidden')).toBe(false)
    for (let number = 0; number < 3; number++) client.dispatchEvent(event('forbidden', number))
    for (let number = 0; number < 3; number++) client.dispatchEvent(event('allowed', number))
    for (let number = 0; number < 3; number++) expect((await next(events)).detail).toBe(number)
    const actions = ['subscribe allowed', 'subscribe forbidden', 'publish forbidden']
    expect(asked).toEqual([...actions, 'publish allowed'])
  })

  it('closes a slow consumer alone, at 4 MiB, and tells it why', async () => {
    const server = await busServer()
    const where = { ...(await reach(server)), window: 262_144 }
    const subscribing = frameStream(discard(await connect(where)))
    const subscription = { type: '__subscribe', id: '', payload: { topic: 'flood' } }
    await subscribing.send(JSON.stringify(subscription))
    const acknowledged = await subscribing[Symbol.asyncIterator]().next()
    expect(String(acknowledged.value)).toContain('__subscribed')
    const session = await openSession(await reach(server))
    afterwards(() => session.close())
    const others = await Promise.all(
      Array.from({ length: 12 }, async () => {
        const target = createAlknetEventTarget({ stream: await session.open() })
        return heard(target, 'flood')
      }),
    )
    const text = 'x'.repeat(100_000)
    const count = 70
    const publishing = (async () => {
      for (let number = 0; number < count; number++) {
        await busOf(server).publish(event('flood', { number, text }))
      }
    })()
    for (let number = 0; number < count; number++) {
      for (const events of others) expect((await next(events)).detail).toMatchObject({ number })
    }
    await publishing
    const dropped = server.metrics().bus?.droppedSlowConsumer ?? 0
    expect(dropped).toBeGreaterThan(0)
    // What waited in the bus, but for the one for which there was no room, and 1 MiB in the stream.
    expect((dropped - 1) * text.length + 2 ** 20).toBeLessThanOrEqual(4 * 2 ** 20)
    expect(server.metrics().bus).toMatchObject({ droppedGone: 0, published: count })
    let last: Buffer | undefined
    for await (const frame of subscribing) last = frame
    expect(String(last)).toContain('slow_consumer')
  })

  it('is an error of its own to an event target that was too slow', async () => {
    const server = await startServer()
    server.onConnection(async (stream) => {
      const frames = frameStream(stream)
      await frames.send('{"type":"__closed","id":"","payload":{"reason":"slow_consumer"}}')
    })
    const target = await member(server)
    expect(await target.closed).toMatchObject({ code: 'ERR_ALKNET_SLOW_CONSUMER' })
  })

  it('ends with its server', async () => {
    const server = await busServer()
    const bus = busOf(server)
    await server.close()
    expect(await bus.closed).toBeUndefined()
    expect(bus.dispatchEvent(event('x'))).toBe(false)
  })

  it('serves its counters to Prometheus', async () => {
    const server = await busServer({ metrics: '127.0.0.1:0' })
    await heard(busOf(server), 'x')
    const answer = await fetch(`http://${server.metricsAddress}/metrics`)
    expect(answer.headers.get('content-type')).toMatch('text/plain; version=0.0.4')
    const text = await answer.text()
    expect(text).toMatch(/^# TYPE alknet_bus_published_total counter$/m)
    expect(text).toMatch(/^alknet_bus_members 1$/m)
    expect((await fetch(`http://${server.metricsAddress}/`)).status).toBe(404)
    expect(server.metricsAddress).not.toMatch(/:0$/)
    expect((await startServer()).metricsAddress).toBeUndefined()
  })

  it('refuses options that are none', async () => {
    for (const bus of [1, { authorize: true }, { maxFrame: 0 }, { maxRate: 1.5 }]) {
      const starting = startServer({ bus } as unknown as AlknetServeOptions)
      await expect(starting).rejects.toBeInstanceOf(TypeError)
    }
  })
})

describe('an event target on a session', () => {
  it('goes on after a loss: subscribed again, with what waited', async () => {
    const port = await freePort()
    const listen = `127.0.0.1:${port}`
    const first = await startServer({ listen, bus: true })
    const session = await openSession(await reach(first))
    afterwards(() => session.close())
    const target = createAlknetEventTarget({ session })
    const news = await heard(target, 'news')
    busOf(first).dispatchEvent(event('news', 1))
    expect((await next(news)).detail).toBe(1)

    const down = new Promise((resolve) => session.once('down', resolve))
    await first.close()
    await down
    await vi.waitFor(() => expect(target.bufferedAmount).toBe(0))
    target.dispatchEvent(event('kept', 2))
    expect(target.bufferedAmount).toBeGreaterThan(0)

    const second = await startServer({ listen })
    const heardThere = new Promise((resolve) => {
      second.onConnection((stream) => {
        const far = createAlknetEventTarget({ stream })
        far.addEventListener('kept', ({ detail }) => {
          resolve(detail)
          far.dispatchEvent(event('news', 3))
        })
      })
    })
    expect(await heardThere).toBe(2)
    expect((await next(news)).detail).toBe(3)
    await target.close()
    expect(session.closed).toBe(false)
  })

  it('refuses events while there is no stream, if asked to', async () => {
    const server = await busServer()
    const session = await openSession(await reach(server))
    afterwards(() => session.close())
    const target = createAlknetEventTarget({ session, offline: 'refuse' })
    expect(() => target.dispatchEvent(event('x'))).toThrow(
      expect.objectContaining({ code: 'ERR_ALKNET_RECONNECTING' }),
    )
    await heard(target, 'x')
    expect(target.dispatchEvent(event('x'))).toBe(true)
  })

  it('ends with its session', async () => {
    const server = await busServer()
    const session = await openSession(await reach(server))
    const target = createAlknetEventTarget({ session })
    await heard(target, 'x')
    await session.close()
    expect(await target.closed).toBeUndefined()
    await expect(target.publish(event('x'))).rejects.toMatchObject({
      code: 'ERR_ALKNET_SESSION_CLOSED',
    })
  })
})

describe('publish() and subscribe()', () => {
  it('carry more than may wait, in order and without loss', async () => {
    const server = await busServer()
    const stream = discard(await connect(await reach(server)))
    const publisher = createAlknetEventTarget({ stream, maxBuffered: 100_000 })
    const events = await heard(busOf(server), 'row')
    const text = 'x'.repeat(50_000)
    const rows = Array.from({ length: 100 }, (_, number) =>
      publisher.publish(event('row', { number, text })),
    )
    for (let number = 0; number < rows.length; number++) {
      expect((await next(events)).detail).toMatchObject({ number })
    }
    await Promise.all(rows)
  })

  it('end by break, by signal, by too many events and with the target', async () => {
    const server = await busServer()
    const bus = busOf(server)
    const client = await member(server)
    const aborting = new AbortController()
    const [broken, aborted] = [client.subscribe('x'), client.subscribe('x', aborting)]
    const [crowded, last] = [client.subscribe('x', { limit: 2 }), client.subscribe('y')]
    expect(await client.ready('y')).toBe(true)
    for (let number = 0; number < 3; number++) bus.dispatchEvent(event('x', number))
    for await (const { detail } of broken) {
      expect(detail).toBe(0)
      break
    }
    aborting.abort()
    expect((await aborted.next()).done).toBeFalsy()
    await vi.waitFor(async () => expect(server.metrics().bus?.delivered).toBe(3))
    expect([(await next(crowded)).detail, (await next(crowded)).detail]).toEqual([0, 1])
    await expect(crowded.next()).rejects.toMatchObject({ code: 'ENOBUFS' })
    expect((await crowded.next()).done).toBe(true)
    const ending = last.next()
    await client.close()
    expect((await ending).done).toBe(true)
  })
})
