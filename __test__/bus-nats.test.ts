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
import { clientKey } from './support/keys.js'
import { type NatsNode, natsCluster } from './support/nats.js'
import { freePort } from './support/net.js'
import { describeWith } from './support/peers.js'

const event = (type: string, detail?: unknown) => new CustomEvent(type, { detail }) as AlknetEvent

/** A server whose bus is the cluster's, connected to the first of `nodes` that lives. */
const serverOn = (...nodes: NatsNode[]) =>
  startServer({ bus: { nats: nodes.map(({ url }) => url) } })

async function client(server: AlknetServer): Promise<AlknetEventTarget> {
  const session = await openSession(await reach(server))
  afterwards(() => session.close())
  return createAlknetEventTarget({ session })
}

/** What `target` hears of `topic`, from now on. */
async function hearing(target: AlknetEventTarget, topic: string): Promise<unknown[]> {
  const heard: unknown[] = []
  target.addEventListener(topic, ({ detail }) => heard.push(detail))
  await vi.waitFor(async () => expect(await target.ready(topic)).toBe(true), 20_000)
  return heard
}

/** Publishes until it is heard: a cluster tells all of its nodes of a subscription only by and by. */
async function linked(publisher: AlknetEventTarget, topic: string, heard: unknown[]) {
  await vi.waitFor(() => {
    publisher.dispatchEvent(event(topic, 'probe'))
    expect(heard).toContain('probe')
  }, 20_000)
}

const numbers = (heard: unknown[]) => heard.filter((detail) => typeof detail === 'number')
const all = Array.from({ length: 200 }, (_, number) => number)

describeWith('nats-server', 'a bus over NATS', () => {
  it('is one bus for the clients of all servers: in order, once, with the sender', async () => {
    const [first, second, third] = (await natsCluster(3)) as [NatsNode, NatsNode, NatsNode]
    const servers = await Promise.all([serverOn(first), serverOn(second), serverOn(third)])
    const [a, b, c] = await Promise.all(servers.map(client))
    if (!a || !b || !c) throw new Error('three clients')
    const senders = new Set<unknown>()
    b.addEventListener('odd. topic*>', ({ from }: AlknetEvent) => senders.add(from))
    const heard = await Promise.all([a, b, c].map((target) => hearing(target, 'odd. topic*>')))
    for (const there of heard) await linked(a, 'odd. topic*>', there)
    for (const number of all) a.dispatchEvent(event('odd. topic*>', number))
    for (const there of heard) {
      await vi.waitFor(
        () => expect(numbers(there).length).toBeGreaterThanOrEqual(all.length),
        20_000,
      )
      expect(numbers(there)).toEqual(all)
    }
    expect([...senders]).toEqual([(await clientKey()).fingerprint])
    const [here, there] = servers.map((server) => server.metrics().bus)
    expect(here).toMatchObject({ received: 0, droppedCluster: 0 })
    expect(there?.received).toBeGreaterThanOrEqual(all.length)
  })

  it('goes on when a node of the cluster dies', async () => {
    const [doomed, ...others] = (await natsCluster(3)) as [NatsNode, NatsNode, NatsNode]
    const [left, right] = [await serverOn(doomed, ...others), await serverOn(others[0], others[1])]
    const [publisher, subscriber] = [await client(left), await client(right)]
    const heard = await hearing(subscriber, 'news')
    await linked(publisher, 'news', heard)
    doomed.program.kill()
    await doomed.program.exit
    heard.length = 0
    await linked(publisher, 'news', heard)
    for (const number of all) publisher.dispatchEvent(event('news', number))
    await vi.waitFor(() => expect(numbers(heard).length).toBeGreaterThanOrEqual(all.length), 20_000)
    expect(numbers(heard)).toEqual(all)
  })

  it('is heard at another server, and nothing twice, when the client’s own is killed', async () => {
    const nodes = await natsCluster(3)
    const nats = nodes.map(({ url }) => url)
    const doomed = await serveAlknet(['--bus', nats.join(',')])
    const other = await serverOn(...nodes)
    const { server, identity = '' } = await reach(other)
    const session = await openSession({
      identity,
      server: [doomed.server, server],
      hostKeys: [doomed.hostKey.fingerprint, other.hostKeyFingerprint],
    })
    afterwards(() => session.close())
    const subscriber = createAlknetEventTarget({ session })
    const publisher = await client(other)
    const heard = await hearing(subscriber, 'news')
    await linked(publisher, 'news', heard)
    let sent = 0
    const publishing = setInterval(() => publisher.dispatchEvent(event('news', sent++)), 1)
    afterwards(() => clearInterval(publishing))
    const come = (least: number) =>
      vi.waitFor(() => expect(numbers(heard).length).toBeGreaterThan(least), 20_000)
    await come(50)
    doomed.program.kill('SIGKILL')
    await doomed.program.exit
    // What was under way is lost; from then on all come.
    const before = numbers(heard).length
    await come(before + 50)
    clearInterval(publishing)
    for (const number of all) publisher.dispatchEvent(event('news', sent + number))
    await vi.waitFor(() => expect(heard.at(-1)).toBe(sent + all.length - 1), 20_000)
    const came = numbers(heard) as number[]
    expect(came).toEqual([...new Set(came)].sort((one, two) => one - two))
    expect(came.slice(-all.length)).toEqual(all.map((number) => sent + number))
    expect(session.remotePort).toBe(Number(server.split(':')[1]))
  })

  it('is not begun without NATS', async () => {
    const nats = `nats://user:secret@127.0.0.1:${await freePort()}`
    const error = await rejection(startServer({ bus: { nats } }))
    expect(error).toMatchObject({ code: 'ECONNREFUSED', phase: 'listen' })
    expect(String(error)).not.toContain('secret')
  })
})
