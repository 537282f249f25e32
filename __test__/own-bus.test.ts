import { once } from 'node:events'
import { duplexPair, PassThrough } from 'node:stream'
import { describe, expect, it, vi } from 'vitest'
import {
  type AlknetEvent,
  type AlknetEventTarget,
  connect,
  createAlknetBus,
  createAlknetEventTarget,
  openSession,
} from '../index.js'
import { discard, reach, rejection, startServer } from './support/alknet.js'
import { afterwards } from './support/cleanup.js'
import { clientKey, makeKey } from './support/keys.js'

const event = (type: string, detail?: unknown) => new CustomEvent(type, { detail }) as AlknetEvent

async function startBus(options?: Parameters<typeof createAlknetBus>[0]) {
  const bus = await createAlknetBus(options)
  afterwards(() => bus.close())
  return bus
}

/** The events of `topic`, from now on. */
async function hearing(target: AlknetEventTarget, topic: string) {
  const events = target.subscribe(topic)
  await vi.waitFor(async () => expect(await target.ready(topic)).toBe(true), 20_000)
  return events
}

async function next(events: AsyncIterator<AlknetEvent>) {
  const { value } = await events.next()
  const { detail, from } = value as AlknetEvent
  return { detail, from }
}

describe('a bus without a server', () => {
  it('is where its program dials: the servers’ ends are its members, by their host keys', async () => {
    const bus = await startBus()
    const servers = [
      await startServer({ hostKey: (await makeKey('another')).path }),
      await startServer(),
    ]
    const members = servers.map(async (server) => {
      const [stream] = (await once(server, 'connection')) as [Parameters<typeof discard>[0]]
      return createAlknetEventTarget({ stream: discard(stream) })
    })
    for (const server of servers) {
      const session = await openSession(await reach(server))
      afterwards(() => session.close())
      void bus.join(session)
    }
    const [one, two] = (await Promise.all(members)) as [AlknetEventTarget, AlknetEventTarget]
    const heard = await Promise.all([one, two, bus.target].map((end) => hearing(end, 'news')))
    one.dispatchEvent(event('news', 'from one'))
    const from = servers[0]?.hostKeyFingerprint
    // At the ends of the members the sender is who opened the stream: the hub, that is trusted with the rest.
    const { fingerprint } = await clientKey()
    expect(await next(heard[1] as never)).toEqual({ detail: 'from one', from: fingerprint })
    expect(await next(heard[2] as never)).toEqual({ detail: 'from one', from })
    expect(bus.metrics()).toMatchObject({ members: 3, published: 1 })
  })

  it('gets another stream of a session that was lost', async () => {
    const bus = await startBus()
    const server = await startServer()
    const session = await openSession(await reach(server))
    afterwards(() => session.close())
    void bus.join(session)
    const [first] = (await once(server, 'connection')) as [Parameters<typeof discard>[0]]
    discard(first).destroy()
    const [second] = (await once(server, 'connection')) as [Parameters<typeof discard>[0]]
    const member = createAlknetEventTarget({ stream: discard(second) })
    const heard = await hearing(member, 'news')
    bus.target.dispatchEvent(event('news', 'again'))
    expect(await next(heard)).toMatchObject({ detail: 'again' })
  })

  it('takes streams of a server, and any others, and asks what they may', async () => {
    const asked: string[] = []
    const bus = await startBus({
      authorize: (info, action, topic) => {
        asked.push(`${info.keyFingerprint} ${action} ${topic}`)
        return topic !== 'secret'
      },
    })
    const server = await startServer()
    server.onConnection((stream) => void bus.join(stream))
    const stream = discard(await connect(await reach(server)))
    const client = createAlknetEventTarget({ stream })
    const [near, far] = duplexPair()
    void bus.join(far, { from: 'a plain one' })
    const plain = createAlknetEventTarget({ stream: near })
    const [ofClient, ofPlain] = [await hearing(client, 'news'), await hearing(plain, 'news')]
    plain.dispatchEvent(event('news', 1))
    expect(await next(ofClient)).toEqual({ detail: 1, from: 'a plain one' })
    expect(await next(ofPlain)).toEqual({ detail: 1, from: 'a plain one' })
    client.addEventListener('secret', () => {})
    expect(await client.ready('secret')).toBe(false)
    const { fingerprint } = await clientKey()
    expect(asked).toContain(`${fingerprint} subscribe secret`)
  })

  it('ends its members’ streams when it is closed, and takes no more', async () => {
    const bus = await startBus()
    const [near, far] = duplexPair()
    const joined = bus.join(far)
    const member = createAlknetEventTarget({ stream: near })
    await hearing(member, 'news')
    await bus.close()
    await joined
    await member.closed
    const late = await rejection(bus.join(new PassThrough()))
    expect(late).toMatchObject({ code: 'ERR_ALKNET_CONFIG' })
  })
})
