import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { AlknetError, connect, openSession } from '../index.js'
import {
  closing,
  discard,
  nextConnection,
  pair,
  reach,
  rejection,
  sessionPair,
  sink,
  startServer,
} from './support/alknet.js'
import { MiB, receive, send } from './support/bytes.js'
import { clientKey } from './support/keys.js'
import { startFaultyLink } from './support/net.js'
import { startNode } from './support/program.js'

describe('a session that is lost', () => {
  it('fails its streams, its open() and says so once', async () => {
    const server = await startServer()
    const link = await startFaultyLink((await reach(server)).server)
    const session = await openSession({
      ...(await reach(server)),
      server: link.server,
      reconnect: false,
    })
    const streams = await Promise.all([session.open(), session.open(), session.open()])
    const ends = streams.map((stream) => closing(sink(stream)))
    const closed = once(session, 'close')
    link.cut()
    const [error] = await closed
    expect(error).toBeInstanceOf(AlknetError)
    const expected = { code: 'ERR_ALKNET_SESSION_CLOSED' }
    expect(await Promise.all(ends)).toEqual(streams.map(() => expect.objectContaining(expected)))
    expect(session.closed).toBe(true)
    expect(await rejection(session.open())).toMatchObject(expected)
    await session.close()
  })

  it('is seen at the server too', async () => {
    const server = await startServer()
    const link = await startFaultyLink((await reach(server)).server)
    const accepted = nextConnection(server)
    const client = discard(await connect({ ...(await reach(server)), server: link.server }))
    client.on('error', () => {})
    const lost = closing(sink((await accepted).stream))
    link.cut()
    expect((await lost)?.code).toMatch(/^(ERR_ALKNET_SESSION_CLOSED|ECONNRESET)$/)
  })

  it.each(['client', 'server'])(
    'by silence is given up by the %s after its probes',
    async (side) => {
      const keepalive = { interval: 100, count: 2 }
      const server = await startServer(side === 'server' ? { keepalive } : { keepalive: false })
      const link = await startFaultyLink((await reach(server)).server)
      const accepted = nextConnection(server)
      const own = side === 'client' ? { keepalive } : { keepalive: false as const }
      const client = discard(
        await connect({ ...(await reach(server)), ...own, server: link.server }),
      )
      const peer = (await accepted).stream
      const lost = closing(sink(side === 'client' ? client : peer))
      link.freeze()
      expect((await lost)?.code).toMatch(/^(ERR_ALKNET_SESSION_CLOSED|ETIMEDOUT)$/)
    },
  )

  it('because its server was killed in mid-transfer fails the stream', async () => {
    const { path, publicPath } = await clientKey()
    const child = startNode('serve', [publicPath, 'source'])
    const target = await child.json<{ server: string; hostKeys: string }>()
    const client = discard(await connect({ ...target, identity: path }))
    await once(client, 'data')
    const lost = closing(sink(client))
    child.kill('SIGKILL')
    expect((await lost)?.code).toMatch(/^(ERR_ALKNET_SESSION_CLOSED|ECONNRESET)$/)
  })

  it('gives up what it had in hand on both sides', async () => {
    const { server, client, peer } = await pair()
    const writes = send(client, 64 * MiB)
    const reads = receive(peer, 64 * MiB)
    const outcome = Promise.allSettled([writes, reads])
    await once(client, 'drain')
    await server.close()
    expect((await outcome).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  })

  it('is not an error when it was closed', async () => {
    const { session, open } = await sessionPair()
    const { client, peer } = await open()
    const ends = Promise.all([closing(sink(client)), closing(sink(peer))])
    const closed = once(session, 'close')
    await session.close()
    expect(await closed).toEqual([])
    await ends
  })
})
