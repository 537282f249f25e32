/** Peers that a relay brings together, and the leg to it through real proxies. */
import { describe, expect, it } from 'vitest'
import { type AlknetServer, connect } from '../index.js'
import { discard, nextConnection, rejection, startServer } from './support/alknet.js'
import { MiB, receive, say, send } from './support/bytes.js'
import { clientKey } from './support/keys.js'
import { startTcp } from './support/net.js'
import { describeWith } from './support/peers.js'
import { startMicrosocks, startTinyproxy } from './support/proxies.js'
import { startRelay, startWay } from './support/relay.js'

const login = { user: 'me', password: 'p.ss-word' }

const proxies = [
  { peer: 'microsocks', start: startMicrosocks },
  { peer: 'tinyproxy', start: startTinyproxy },
] as const

/** A relay that hears what it is asked for and never answers. */
async function startDeaf() {
  let hear = (_: Buffer) => {}
  const asked = new Promise<string>((resolve) => {
    hear = (head) => resolve(head.toString('latin1'))
  })
  const { port } = await startTcp((socket) => void socket.once('data', hear))
  return { irohRelay: `http://localhost:${port}`, asked }
}

/** Whom to reach by the relay alone. */
async function somebody(irohRelay?: string) {
  return whom(await startServer({ transport: 'iroh', ...(irohRelay && { irohRelay }) }))
}

async function whom({ endpointId: peer = '', hostKeyFingerprint: hostKeys }: AlknetServer) {
  return { peer, hostKeys, identity: (await clientKey()).path }
}

describeWith('iroh-relay', 'a relay of the makers of iroh', () => {
  it('leads to a peer of which nothing but the id is known', async () => {
    const relay = await startRelay()
    const way = await startWay(relay)
    const server = await startServer({ transport: 'iroh', irohRelay: relay.url })
    expect(server.connectionString).toContain(`relay=${relay.url}`)
    const accepted = nextConnection(server)
    const client = discard(await connect({ ...(await whom(server)), irohRelay: way.url }))
    const { stream } = await accepted
    await say(client, stream, 'there')
    await say(stream, client, 'and back')
    expect([client.info.transport, stream.info.transport]).toEqual(['iroh', 'iroh'])
    expect(way.bytes).toBeGreaterThan(0)
  })

  for (const { peer, start } of proxies) {
    describeWith(peer, `behind ${peer}`, () => {
      it('carries every byte, for no other way leads through the proxy', async () => {
        const relay = await startRelay()
        const [way, { url: proxy }] = [await startWay(relay), await start({ login })]
        const server = await startServer({ transport: 'iroh', irohRelay: relay.url })
        const accepted = nextConnection(server)
        const [irohRelay, irohAddress] = [way.url, server.addresses]
        const to = { ...(await whom(server)), irohRelay, irohAddress, proxy }
        const client = discard(await connect(to))
        const { stream } = await accepted
        await Promise.all([send(client, 2 * MiB), receive(stream, 2 * MiB)])
        await Promise.all([send(stream, 2 * MiB), receive(client, 2 * MiB)])
        expect(way.bytes).toBeGreaterThan(4 * MiB)
      })
    })
  }

  describeWith('microsocks', 'that comes back', () => {
    it('leads to the peer again', async () => {
      const [first, { url: proxy }] = [await startRelay(), await startMicrosocks()]
      // Else the peer would be reached straight, where it was before.
      const to = { ...(await somebody(first.url)), irohRelay: first.url, proxy }
      discard(await connect(to)).destroy()
      process.kill(first.program.pid)
      await first.program.exit
      expect(await rejection(connect(to))).toMatchObject({ code: 'ERR_ALKNET_PROXY' })
      await startRelay(first.port)
      discard(await connect(to))
    })
  })
})

describe('a relay', () => {
  it('is asked for its service, and the attempt ends by its signal', async () => {
    const { irohRelay, asked } = await startDeaf()
    const abort = new AbortController()
    const attempt = connect({ ...(await somebody()), irohRelay, signal: abort.signal })
    const ended = rejection(attempt)
    expect(await asked).toMatch(/^GET \/relay HTTP\/1\.1\r\n/)
    abort.abort()
    expect(await ended).toMatchObject({ name: 'AbortError' })
  })
})

for (const { peer, start } of proxies) {
  describeWith(peer, `a relay behind ${peer}`, () => {
    it('is reached through it, by name', async () => {
      const { irohRelay, asked } = await startDeaf()
      const { url: proxy, program } = await start({ login })
      const abort = new AbortController()
      const attempt = connect({ ...(await somebody()), irohRelay, proxy, signal: abort.signal })
      const ended = rejection(attempt)
      expect(await asked).toMatch(/^GET \/relay HTTP\/1\.1\r\n/)
      if (peer === 'microsocks') await program.complains(/connected to localhost:/)
      abort.abort()
      await ended
    })

    it('is not, and why is told, when the proxy lets nobody in', async () => {
      const { irohRelay } = await startDeaf()
      const proxy = (await start({ login })).url.replace('p.ss-word', 'secret')
      const error = await rejection(connect({ ...(await somebody()), irohRelay, proxy }))
      expect(error).toMatchObject({ code: 'ERR_ALKNET_PROXY' })
      expect(String(error)).not.toContain('secret')
    })
  })
}
