import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { connect } from '../index.js'
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
import { MiB, receive, receiveAll, say, send, text } from './support/bytes.js'
import { strangerKey } from './support/keys.js'
import { startTcp } from './support/net.js'
import { over, transports } from './support/transports.js'

describe.each(transports)('over %s', (transport) => {
  it('a stream carries words both ways and says how', async () => {
    const { client, peer, server } = await pair(await over(transport))
    await say(client, peer, 'there')
    await say(peer, client, 'and back')
    expect([client.info.transport, peer.info.transport]).toEqual([transport, transport])
    expect(peer.info.remoteAddress).toBe('127.0.0.1')
    expect(client.remotePort).toBe(Number(server.addresses[0]?.split(':').at(-1)))
  })

  it('bulk goes both ways at once, each byte in its place', async () => {
    const { client, peer } = await pair(await over(transport))
    const moved = [send(client, 8 * MiB), receive(peer, 8 * MiB), send(peer, 8 * MiB)]
    await Promise.all([...moved, receive(client, 8 * MiB)])
  })

  it('an end one way leaves the other open', async () => {
    const { client, peer } = await pair(await over(transport))
    client.end('question')
    expect(await text(peer)).toBe('question')
    const sending = send(peer, 4 * MiB).then(() => peer.end())
    expect(await receiveAll(client)).toBe(4 * MiB)
    await sending
  })

  it('a reader that stalls leaves the others going', async () => {
    const session = await sessionPair(await over(transport))
    const stalled = await session.open()
    send(stalled.client, 64 * MiB).catch(() => {})
    await once(stalled.peer, 'readable')
    const other = await session.open()
    await Promise.all([send(other.client, 8 * MiB), receive(other.peer, 8 * MiB)])
    await say(other.peer, other.client, 'still here')
  })

  it('a stream that is abandoned is reset at the other end', async () => {
    const { client, peer } = await pair(await over(transport))
    const closed = closing(sink(client))
    peer.destroy()
    expect(await closed).toMatchObject({ code: 'ECONNRESET' })
  })

  it('a server that closes ends the streams it had', async () => {
    const { client, server } = await pair(await over(transport))
    const closed = closing(sink(client))
    await server.close()
    expect(await closed).toMatchObject({ code: 'ERR_ALKNET_SESSION_CLOSED' })
  })

  it('the host key and the log-in are what they are', async () => {
    const options = await over(transport)
    const server = await startServer(options.serve)
    const to = { ...(await reach(server)), ...options.connect }
    const wrong = await rejection(connect({ ...to, hostKeys: (await strangerKey()).fingerprint }))
    expect(wrong).toMatchObject({ code: 'ERR_ALKNET_HOST_KEY_CHANGED' })
    const stranger = await rejection(connect({ ...to, identity: (await strangerKey()).path }))
    expect(stranger).toMatchObject({ code: 'ERR_ALKNET_AUTH_REJECTED' })
  })

  it('the connection string says all but whom to trust for TLS', async () => {
    const options = await over(transport)
    const server = await startServer(options.serve)
    const { identity = '' } = await reach(server)
    const { tlsCa } = options.connect ?? {}
    const accepted = nextConnection(server)
    const client = discard(
      await connect(server.connectionString, { identity, ...(tlsCa !== undefined && { tlsCa }) }),
    )
    await say(client, (await accepted).stream, 'by string')
    expect(client.info.transport).toBe(transport)
  })
})

describe('a server with several addresses', () => {
  it('listens at each of them', async () => {
    const server = await startServer({ listen: ['127.0.0.1:0', 'ws://127.0.0.1:0'] })
    const [tcp, ws] = server.addresses
    for (const address of [`tcp://${tcp}`, `ws://${ws}`]) {
      const accepted = nextConnection(server)
      const client = discard(await connect({ ...(await reach(server)), server: address }))
      await say(client, (await accepted).stream, address)
    }
  })

  it('says so when addresses and transports do not go together', async () => {
    const listen = ['127.0.0.1:0', '127.0.0.1:0', '127.0.0.1:0']
    expect(await rejection(startServer({ listen, transport: ['tcp', 'tcp'] }))).toMatchObject({
      code: 'ERR_ALKNET_CONFIG',
      message: '3 addresses and 2 transports: give one of either, or as many',
    })
  })
})

describe('a client with several transports', () => {
  it('tries them in order and says which it was', async () => {
    // What the first two say is no SSH, which costs a source 30 s.
    const server = await startServer({ limits: { penalties: false } })
    const accepted = nextConnection(server)
    const transport = ['ws', 'tls', 'tcp'] as const
    const client = discard(await connect({ ...(await reach(server)), transport }))
    await say(client, (await accepted).stream, 'the third')
    expect(client.info.transport).toBe('tcp')
  })

  it('tells what became of each when none leads there', async () => {
    const { identity, hostKeys } = await reach(await startServer())
    const other = await startTcp((socket) => socket.end('SSH-2.0-other\r\n'))
    const to = { server: other.server, identity: identity ?? '', hostKeys: hostKeys ?? '' }
    const error = await rejection(connect({ ...to, transport: ['ws', 'tls'] }))
    expect(error).toMatchObject({ code: 'ERR_ALKNET_TLS', phase: 'tls' })
    expect(error).toMatchObject({ hint: expect.stringContaining('before this: ') })
  })

  it('takes a refused log-in for an answer', async () => {
    const server = await startServer({ listen: ['127.0.0.1:0'] })
    const to = { ...(await reach(server)), identity: (await strangerKey()).path }
    const error = await rejection(connect({ ...to, transport: ['tcp', 'tls'] }))
    expect(error).toMatchObject({ code: 'ERR_ALKNET_AUTH_REJECTED' })
  })
})
