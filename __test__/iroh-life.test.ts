/** A server's relay: there when the server says so, told of when it is lost, and got back; by https as well. */
import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import {
  type AlknetConnectOptions,
  type AlknetRelayStatus,
  type AlknetServer,
  connect,
} from '../index.js'
import { discard, nextConnection, reach, rejection, startServer } from './support/alknet.js'
import { say } from './support/bytes.js'
import { serveAlknet } from './support/cli.js'
import { clientKey } from './support/keys.js'
import { describeWith } from './support/peers.js'
import { startTinyproxy } from './support/proxies.js'
import { type Relay, startRelay, startWay } from './support/relay.js'
import { certificate } from './support/transports.js'

/** The first status that fits. */
async function status(
  server: AlknetServer,
  fits: (status: AlknetRelayStatus) => boolean,
): Promise<AlknetRelayStatus> {
  for (;;) {
    const now = server.relay
    if (now !== undefined && fits(now)) return now
    await once(server, 'relay')
  }
}

const isThere = ({ connected }: AlknetRelayStatus) => connected
const isLost = ({ connected }: AlknetRelayStatus) => !connected

/** Whom to reach, and by nothing else than `irohRelay`. */
async function by(irohRelay: string, server: AlknetServer): Promise<AlknetConnectOptions> {
  const { endpointId: peer = '', hostKeyFingerprint: hostKeys } = server
  return { peer, hostKeys, irohRelay, identity: (await clientKey()).path }
}

async function direct(server: AlknetServer, irohAddress: string): Promise<AlknetConnectOptions> {
  const { irohRelay: _, ...options } = await by('', server)
  return { ...options, irohAddress }
}

/** Says something over a new stream to `server`, and leaves it open. */
async function talk(server: AlknetServer, to: AlknetConnectOptions) {
  const accepted = nextConnection(server)
  const client = discard(await connect(to))
  const { stream } = await accepted
  await say(client, stream, 'there')
  await say(stream, client, 'and back')
  const leave = () => {
    stream.on('error', () => {})
    client.destroy()
  }
  return { client, stream, leave }
}

async function end(relay: Relay): Promise<void> {
  process.kill(relay.program.pid)
  await relay.program.exit
}

describeWith('iroh-relay', 'the relay of a server', () => {
  it('is there when serve() resolves, so that a client finds the server at once', async () => {
    const { url: irohRelay } = await startRelay()
    const server = await startServer({ transport: 'iroh', irohRelay })
    const there = { url: irohRelay, connected: true, rebuilt: 0, error: undefined }
    expect(server.relay).toEqual(there)
    await talk(server, await by(irohRelay, server))
  })

  it('is no reason not to start, and a new endpoint gets it when it answers at last', async () => {
    const way = await startWay(await startRelay())
    way.leads = false
    const server = await startServer({
      transport: ['tcp', 'iroh'],
      listen: ['127.0.0.1:0', '127.0.0.1:0'],
      irohRelay: way.url,
      limits: { relayTimeout: 500 },
    })
    const { error } = await status(server, ({ rebuilt }) => rebuilt > 0)
    expect(server.relay?.connected).toBe(false)
    expect(error).toMatchObject({ code: 'EHOSTUNREACH', phase: 'listen' })
    await talk(server, await reach(server))
    // The same id at the same port.
    const { leave } = await talk(server, await direct(server, `${server.addresses[1]}`))
    leave()
    way.leads = true
    await status(server, isThere)
    expect(server.relay?.error).toBeUndefined()
    await talk(server, await by(way.url, server))
  })

  it('is missed without harm to a session that needs none, and then the endpoint is built anew', async () => {
    const relayTimeout = 300
    const relay = await startRelay()
    const limits = { relayTimeout }
    const server = await startServer({ transport: 'iroh', irohRelay: relay.url, limits })
    const to = await direct(server, `${server.addresses[0]}`)
    const { client, stream, leave } = await talk(server, to)
    await end(relay)
    await status(server, isLost)
    const lost = performance.now()
    while (performance.now() < lost + 4 * relayTimeout) await say(client, stream, 'still there')
    expect(server.relay?.rebuilt).toBe(0)
    leave()
    await status(server, ({ rebuilt }) => rebuilt > 0)
    await startRelay(relay.port)
    await status(server, isThere)
    await talk(server, await by(relay.url, server))
  })

  it('that comes back is there again, as the command line tells', async () => {
    const relay = await startRelay()
    const { program, connectionString } = await serveAlknet([
      ...['--transport', 'iroh', '--iroh-relay', relay.url, '--allow-sockets'],
    ])
    const tells = async (connected: boolean) => {
      for (;;) {
        const line = await program.json<{ event: string; connected?: boolean; rebuilt?: number }>()
        if (line.event !== 'relay' || line.connected !== connected) continue
        return expect(line).toMatchObject({ url: relay.url, rebuilt: 0 })
      }
    }
    await tells(true)
    await end(relay)
    await tells(false)
    await program.complains(/relay lost/)
    await startRelay(relay.port)
    await tells(true)
    await program.complains(/relay connected.*relay lost.*relay connected/s)
    expect(connectionString).toContain(`relay=${relay.url}`)
  })

  it('by https is trusted by tlsCa, at both ends and through a proxy', async () => {
    const own = await certificate()
    const { url: irohRelay } = await startRelay(undefined, own)
    const tlsCa = own.tlsCert
    const server = await startServer({ transport: 'iroh', irohRelay, tlsCa })
    expect(server.relay).toMatchObject({ connected: true })
    const to = await by(irohRelay, server)
    await talk(server, { ...to, tlsCa })
    expect(await rejection(connect({ ...to, connectTimeout: 1_500 }))).toBeInstanceOf(Error)
    const noPem = { ...to, tlsCa: Buffer.from('no certificate') }
    expect(await rejection(connect(noPem))).toMatchObject({ code: 'ERR_ALKNET_CONFIG' })
    const { tlsCa: none } = noPem
    const refused = startServer({ transport: 'iroh', irohRelay, tlsCa: none })
    expect(await rejection(refused)).toMatchObject({ code: 'ERR_ALKNET_CONFIG' })
  })

  describeWith('tinyproxy', 'behind tinyproxy', () => {
    it('is reached by https all the same', async () => {
      const own = await certificate()
      const { url: irohRelay } = await startRelay(undefined, own)
      const tlsCa = own.tlsCert
      const server = await startServer({ transport: 'iroh', irohRelay, tlsCa })
      const { url: proxy } = await startTinyproxy()
      await talk(server, { ...(await by(irohRelay, server)), tlsCa, proxy })
    })
  })
})

describeWith('iroh-relay', 'the endpoint that a process dials from', () => {
  it('is left when it is stuck at a relay that does not answer', async () => {
    const relay = await startRelay()
    const server = await startServer({ transport: 'iroh', irohRelay: relay.url })
    const way = await startWay(relay)
    way.leads = false
    const to = await by(way.url, server)
    // As long as somebody dials from it, it stays; its next look at the relay is 10 s away.
    const abort = new AbortController()
    const held = rejection(connect({ ...to, signal: abort.signal }))
    for (let tries = 0; tries < 3; tries++) {
      await rejection(connect({ ...to, connectTimeout: 300 }))
    }
    way.leads = true
    await talk(server, { ...to, connectTimeout: 6_000 })
    abort.abort()
    await held
  })
})

describe('a server without a relay', () => {
  it('has nothing to say of one', async () => {
    const server = await startServer({ transport: 'iroh' })
    expect(server.relay).toBeUndefined()
  })
})
