import { expect, it, vi } from 'vitest'
import {
  type AlknetEvent,
  type AlknetEventTarget,
  type AlknetServer,
  createAlknetEventTarget,
  openSession,
} from '../index.js'
import { reach, rejection, startServer } from './support/alknet.js'
import { afterwards } from './support/cleanup.js'
import { serveAlknet } from './support/cli.js'
import { type NatsNode, natsCluster } from './support/nats.js'
import { describeWith } from './support/peers.js'

const event = (type: string, detail?: unknown) => new CustomEvent(type, { detail }) as AlknetEvent

const durable = ['orders']

/** A server whose bus keeps the orders in NATS. */
const serverOn = (nodes: NatsNode[]) =>
  startServer({ bus: { nats: nodes.map(({ url }) => url), durable } })

interface Client extends AlknetEventTarget {
  errors: NodeJS.ErrnoException[]
  gone(): Promise<void>
}

async function client(
  server: AlknetServer,
  more?: { server?: string[]; hostKeys?: string[]; echo?: boolean },
): Promise<Client> {
  const { echo = true, ...where } = more ?? {}
  const session = await openSession({ ...(await reach(server)), ...where })
  afterwards(() => session.close())
  const target = createAlknetEventTarget({ session, echo })
  const errors: NodeJS.ErrnoException[] = []
  target.onerror = ({ detail }) => errors.push(detail)
  return Object.assign(target, { errors, gone: () => session.close() })
}

const ready = (target: AlknetEventTarget, topic = 'orders') =>
  vi.waitFor(async () => expect(await target.ready(topic)).toBe(true), 20_000)

/** The next `count` events. */
async function take(events: AsyncIterator<AlknetEvent>, count: number): Promise<AlknetEvent[]> {
  const taken: AlknetEvent[] = []
  while (taken.length < count) {
    const { done, value } = await events.next()
    if (done) throw new Error('the events have ended')
    taken.push(value)
  }
  return taken
}

const details = (events: AlknetEvent[]) => events.map(({ detail }) => detail)
const numbers = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, number) => from + number)

describeWith('nats-server', 'topics whose events are kept', () => {
  it('are heard by who was away from the number that it names, then as they come', async () => {
    const server = await serverOn(await natsCluster(1, { jetStream: true }))
    const [publisher, early] = [await client(server), await client(server)]
    const first = early.subscribe('orders')
    await ready(early)
    for (const number of numbers(0, 10)) await publisher.publish(event('orders', number))
    const heard = await take(first, 10)
    expect(details(heard)).toEqual(numbers(0, 10))
    const since = heard[4]?.seq ?? 0
    await early.gone()
    for (const number of numbers(10, 400)) await publisher.publish(event('orders', number))
    const late = await client(server)
    const rest = late.subscribe('orders', { since })
    await ready(late)
    for (const number of numbers(400, 420)) await publisher.publish(event('orders', number))
    expect(details(await take(rest, 415))).toEqual(numbers(5, 420))
    const all = await client(server)
    expect(details(await take(all.subscribe('orders', { since: 0 }), 420))).toEqual(numbers(0, 420))
    expect([...late.errors, ...all.errors, ...publisher.errors]).toEqual([])
  })

  it('that came together are stored together, and each is where one may go on', async () => {
    const server = await serverOn(await natsCluster(1, { jetStream: true }))
    const [publisher, early] = [await client(server), await client(server)]
    const first = early.subscribe('orders', { limit: 10_000 })
    await ready(early)
    for (const number of numbers(0, 5000)) publisher.dispatchEvent(event('orders', number))
    const heard = await take(first, 5000)
    expect(details(heard)).toEqual(numbers(0, 5000))
    const seqs = heard.map(({ seq }) => seq ?? 0)
    expect(seqs.every((seq, at) => at === 0 || seq > (seqs[at - 1] ?? 0))).toBe(true)
    for (const at of [0, 1234, 3000, 4998]) {
      const late = await client(server)
      const rest = late.subscribe('orders', { since: seqs[at] ?? 0, limit: 10_000 })
      expect(details(await take(rest, 4999 - at))).toEqual(numbers(at + 1, 5000))
      expect(late.errors).toEqual([])
    }
  })

  it('are as before for who asks for nothing: from now on, the sender’s key in them, echo by choice', async () => {
    const server = await serverOn(await natsCluster(1, { jetStream: true }))
    const [publisher, own] = [await client(server), await client(server, { echo: false })]
    const all = publisher.subscribe('orders')
    await ready(publisher)
    await publisher.publish(event('orders', 'before'))
    await take(all, 1)
    const events = own.subscribe('orders')
    const others = own.subscribe('news')
    const everything = server.bus?.subscribe('*')
    await ready(own)
    await ready(own, 'news')
    await own.publish(event('orders', 'its own'))
    await publisher.publish(event('orders', 'now'))
    await publisher.publish(event('news', 'not kept'))
    const [order] = await take(events, 1)
    expect(order).toMatchObject({ detail: 'now', from: expect.stringMatching(/^SHA256:/) })
    expect(order?.seq).toBeTypeOf('number')
    const [news] = await take(others, 1)
    expect([news?.detail, news?.seq]).toEqual(['not kept', undefined])
    await everything?.return?.()
  })

  it('are heard once and all of them, though server and node of NATS are killed', async () => {
    const nodes = await natsCluster(3, { jetStream: true })
    const other = await serverOn(nodes)
    const nats = nodes.map(({ url }) => url).join(',')
    const doomed = await serveAlknet(['--bus', nats, '--bus-durable', 'orders'])
    const { server } = await reach(other)
    const subscriber = await client(other, {
      server: [doomed.server, server],
      hostKeys: [doomed.hostKey.fingerprint, other.hostKeyFingerprint],
    })
    const publisher = await client(other)
    const heard: unknown[] = []
    subscriber.addEventListener('orders', ({ detail }) => heard.push(detail))
    await ready(subscriber)
    const publish = async (from: number, to: number) => {
      for (const number of numbers(from, to)) await publisher.publish(event('orders', number))
    }
    const come = (count: number) =>
      vi.waitFor(() => expect(heard.length).toBeGreaterThanOrEqual(count), 30_000)
    await publish(0, 50)
    await come(50)
    doomed.program.kill('SIGKILL')
    await publish(50, 100)
    await come(100)
    nodes[0]?.program.kill('SIGKILL')
    await publish(100, 150)
    await come(150)
    expect(heard).toEqual(numbers(0, 150))
    // Of the server that was killed, and nothing of events that are missing.
    const codes = [...subscriber.errors, ...publisher.errors].map(({ code }) => code)
    expect(codes).toEqual(['ERR_ALKNET_SESSION_CLOSED'])
  }, 90_000)

  it('tell what is not to be had', async () => {
    const [plain] = (await natsCluster(1)) as [NatsNode]
    expect(await rejection(startServer({ bus: { durable } }))).toMatchObject({
      code: 'ERR_ALKNET_CONFIG',
    })
    expect(await rejection(serverOn([plain]))).toMatchObject({ code: 'ERR_ALKNET_CONFIG' })
    const server = await startServer({ bus: { nats: plain.url } })
    const target = await client(server)
    const events = target.subscribe('orders', { since: 7 })
    await ready(target)
    expect(target.errors).toMatchObject([{ code: 'ENODATA' }])
    expect(() => target.subscribe('orders', { since: 7 })).toThrow(TypeError)
    await target.publish(event('orders', 'still heard'))
    expect(details(await take(events, 1))).toEqual(['still heard'])
  })

  it('begin anew when the number is of a store that is gone', async () => {
    const server = await serverOn(await natsCluster(1, { jetStream: true }))
    const [publisher, subscriber] = [await client(server), await client(server)]
    await publisher.publish(event('orders', 1))
    await vi.waitFor(async () => {
      const probe = await client(server)
      expect(details(await take(probe.subscribe('orders', { since: 0 }), 1))).toEqual([1])
    }, 20_000)
    const events = subscriber.subscribe('orders', { since: 2 ** 40 })
    expect(details(await take(events, 1))).toEqual([1])
    expect(subscriber.errors).toMatchObject([{ code: 'ENODATA' }])
  })
})
