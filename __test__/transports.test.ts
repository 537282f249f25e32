import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { connect, openSession } from '../index.js'
import {
  closing,
  discard,
  meet,
  nextConnection,
  pair,
  reach,
  rejection,
  sessionPair,
  sink,
  startServer,
} from './support/alknet.js'
import { drained, MiB, receive, receiveAll, say, send, text } from './support/bytes.js'
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
    // Of a peer by iroh it is the key that is known: where it is may change at any time.
    const port = Number(server.addresses[0]?.split(':').at(-1))
    expect(client.remotePort).toBe(transport === 'iroh' ? undefined : port)
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

  it('what arrives has the digest of what was sent, both ways', async () => {
    const { client, peer } = await pair(await over(transport))
    const moved = [client, peer].map(async (end) => {
      const [sent, heard] = [createHash('sha256'), createHash('sha256')]
      const hearing = (async () => {
        for await (const chunk of end.iterator({ destroyOnReturn: false })) heard.update(chunk)
      })()
      for (let left = 4; left > 0; left -= 1) {
        const block = randomBytes(MiB)
        sent.update(block)
        if (!end.write(block)) await drained(end)
      }
      end.end()
      await hearing
      return { sent: sent.digest('hex'), heard: heard.digest('hex') }
    })
    const [there, back] = await Promise.all(moved)
    expect([back?.heard, there?.heard]).toEqual([there?.sent, back?.sent])
  })

  it('a thousand streams are opened on one session, fifty at a time', async () => {
    const { server, session } = await sessionPair(await over(transport))
    server.onConnection((stream) => void stream.on('error', () => {}).pipe(stream))
    let left = 1_000
    const work = async () => {
      while (left-- > 0) {
        const stream = await session.open()
        stream.end('hello')
        expect(await text(stream)).toBe('hello')
      }
    }
    await Promise.all(Array.from({ length: 50 }, work))
    expect(session.metrics()).toMatchObject({ opened: 1_000, refused: 0, sessions: 1 })
  })

  it('an attempt that is aborted leaves nothing at the server', async () => {
    const options = await over(transport)
    const server = await startServer(options.serve)
    const abort = new AbortController()
    const to = await meet(server, options.connect)
    const attempt = rejection(connect({ ...to, signal: abort.signal }))
    abort.abort()
    expect(await attempt).toMatchObject({ name: 'AbortError' })
    const accepted = nextConnection(server)
    const client = discard(await connect(to))
    await say(client, (await accepted).stream, 'the next one')
  })

  it('a reader that stalls leaves the others going', async () => {
    const session = await sessionPair(await over(transport))
    const stalled = await session.open()
    let sent = false
    const sending = send(stalled.client, 32 * MiB).then(() => {
      sent = true
    })
    await once(stalled.peer, 'readable')
    const other = await session.open()
    await Promise.all([send(other.client, 8 * MiB), receive(other.peer, 8 * MiB)])
    await say(other.peer, other.client, 'still here')
    expect(sent).toBe(false)
    await Promise.all([sending, receive(stalled.peer, 32 * MiB)])
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
    const to = await meet(server, options.connect)
    const wrong = await rejection(connect({ ...to, hostKeys: (await strangerKey()).fingerprint }))
    expect(wrong).toMatchObject({ code: 'ERR_ALKNET_HOST_KEY_CHANGED' })
    const stranger = await rejection(connect({ ...to, identity: (await strangerKey()).path }))
    expect(stranger).toMatchObject({ code: 'ERR_ALKNET_AUTH_REJECTED' })
  })

  it('a source has so many connections, and gets them back', async () => {
    const options = await over(transport)
    const limits = { maxConnectionsPerSource: 1, penalties: false } as const
    const server = await startServer({ ...options.serve, limits })
    const to = await meet(server, { ...options.connect, reconnect: false } as object)
    const first = await openSession(to)
    const crowded = await rejection(openSession(to))
    expect(crowded).toMatchObject({ code: expect.stringMatching(/^E/) })
    await first.close()
    for (;;) {
      const next = await openSession(to).catch(() => undefined)
      if (next) return next.close()
    }
  })

  it('a source that fails to log in is refused for a while', async () => {
    const options = await over(transport)
    const limits = { penalties: { authFailed: 600_000, threshold: 1 } }
    const server = await startServer({ ...options.serve, limits })
    const to = await meet(server, options.connect)
    const stranger = connect({ ...to, identity: (await strangerKey()).path })
    expect(await rejection(stranger)).toMatchObject({ code: 'ERR_ALKNET_AUTH_REJECTED' })
    const refused = await rejection(connect(to))
    expect(refused).toMatchObject({ code: expect.stringMatching(/^E/) })
    expect(refused).not.toMatchObject({ code: 'ERR_ALKNET_AUTH_REJECTED' })
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
