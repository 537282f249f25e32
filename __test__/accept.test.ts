import { once } from 'node:events'
import { connect as tcpConnect } from 'node:net'
import { describe, expect, it } from 'vitest'
import {
  type AlknetServer,
  type AlknetSession,
  type AlknetStream,
  type ConnectionInfo,
  connect,
  openSession,
  serve,
} from '../index.js'
import {
  closing,
  discard,
  nextConnection,
  reach,
  rejection,
  sessionPair,
  sink,
  startServer,
} from './support/alknet.js'
import { hear, say, text } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { clientKey, strangerKey } from './support/keys.js'

/** Opens a stream on `session` that says its number. */
async function openNumbered(session: AlknetSession, number: number) {
  const stream = discard(await session.open())
  stream.end(String(number))
  return stream
}

async function openMany(session: AlknetSession, count: number): Promise<void> {
  for (let number = 0; number < count; number += 1) await openNumbered(session, number)
}

async function sessionTo(server: AlknetServer): Promise<AlknetSession> {
  const session = await openSession(await reach(server))
  afterwards(() => session.close())
  return session
}

const full = { code: 'ERR_ALKNET_CHANNEL_REJECTED', reason: 'resource-shortage', phase: 'channel' }

describe('accepting', () => {
  it.each<[string, (server: AlknetServer) => Promise<unknown>]>([
    [
      'onConnection()',
      (server) => new Promise((resolve) => server.onConnection((...given) => resolve(given))),
    ],
    ['the event', (server) => once(server, 'connection')],
    [
      'for await',
      async (server) => {
        for await (const { stream, info } of server) return [stream, info]
        throw new Error('the server closed')
      },
    ],
  ])('gives a stream and who it is from by %s', async (_how, accept) => {
    const server = await startServer()
    const accepted = accept(server)
    const client = discard(await connect(await reach(server)))
    const [stream, info] = (await accepted) as [AlknetStream, ConnectionInfo]
    expect(stream.info).toEqual(info)
    await say(client, discard(stream), 'it is me')
  })

  it('tells who has come, by which key and for what', async () => {
    const server = await startServer()
    const accepted = nextConnection(server)
    discard(await connect({ ...(await reach(server)), user: 'ada' }))
    const { info, stream } = await accepted
    expect(info).toMatchObject({
      user: 'ada',
      keyFingerprint: (await clientKey()).fingerprint,
      target: 'alknet-control',
      transport: 'tcp',
      remoteAddress: '127.0.0.1',
    })
    expect(info.peer).toMatch(/^SSH-2\.0-alknet_\d/)
    expect(stream.info).toEqual(info)
  })

  it('keeps one session’s streams apart and names their session alike', async () => {
    const { open } = await sessionPair()
    const [first, second] = [await open(), await open()]
    expect(first.peer.info.sessionId).toBe(second.peer.info.sessionId)
    await say(first.client, first.peer, 'one')
    await say(second.client, second.peer, 'two')
  })

  it('names different sessions differently', async () => {
    const server = await startServer()
    const options = await reach(server)
    const [one, two] = [discard(await connect(options)), discard(await connect(options))]
    expect(one.info.sessionId).not.toBe(two.info.sessionId)
  })
})

describe('streams that come before a listener', () => {
  it('wait in order with all their bytes', async () => {
    const server = await startServer()
    await openMany(await sessionTo(server), 20)
    const said: Promise<string>[] = []
    const all = new Promise<void>((resolve) => {
      server.onConnection((stream) => {
        if (said.push(text(discard(stream))) === 20) resolve()
      })
    })
    await all
    expect(await Promise.all(said)).toEqual(Array.from({ length: 20 }, (_, number) => `${number}`))
  })

  it('are not spent on a listener that wants only one', async () => {
    const server = await startServer()
    await openMany(await sessionTo(server), 3)
    for (let number = 0; number < 3; number += 1) {
      expect(await text((await nextConnection(server)).stream)).toBe(`${number}`)
    }
  })

  it('are refused beyond 128, and none of the 128 is lost', async () => {
    const server = await startServer()
    const session = await sessionTo(server)
    await openMany(session, 128)
    expect(await rejection(session.open())).toMatchObject(full)
    const numbers: string[] = []
    for await (const { stream } of server) {
      numbers.push(await text(discard(stream)))
      if (numbers.length === 128) break
    }
    expect(numbers).toEqual(Array.from({ length: 128 }, (_, number) => `${number}`))
  })

  it('are refused beyond limits.maxPending, until there is room again', async () => {
    const server = await startServer({ limits: { maxPending: 2 } })
    const session = await sessionTo(server)
    await openMany(session, 2)
    expect(await rejection(session.open())).toMatchObject(full)
    expect(await text((await nextConnection(server)).stream)).toBe('0')
    await openNumbered(session, 2)
    expect(await rejection(session.open())).toMatchObject(full)
    expect(await text((await nextConnection(server)).stream)).toBe('1')
    expect(await text((await nextConnection(server)).stream)).toBe('2')
  })

  it('end for their clients when the server closes', async () => {
    const server = await startServer()
    const client = discard(await connect(await reach(server)))
    const lost = closing(sink(client))
    await server.close()
    expect((await lost)?.code).toMatch(/^(ECONNRESET|ERR_ALKNET_SESSION_CLOSED)$/)
  })
})

describe('for await', () => {
  it('takes streams one at a time and leaves the rest waiting when left', async () => {
    const server = await startServer()
    await openMany(await sessionTo(server), 4)
    for (const expected of ['0', '1']) {
      for await (const { stream } of server) {
        expect(await text(discard(stream))).toBe(expected)
        break
      }
    }
    expect(await text((await nextConnection(server)).stream)).toBe('2')
    expect(await text((await nextConnection(server)).stream)).toBe('3')
  })

  it('bounds what waits for a slow consumer', async () => {
    const server = await startServer({ limits: { maxPending: 2 } })
    const session = await sessionTo(server)
    const iterator = server[Symbol.asyncIterator]()
    const first = iterator.next()
    await openNumbered(session, 0)
    await first
    let granted = 0
    const fill = async (): Promise<never> => {
      for (;;) {
        discard(await session.open())
        granted += 1
      }
    }
    expect(await rejection(fill())).toMatchObject(full)
    expect(granted).toBeLessThanOrEqual(4)
    for (let number = 0; number < granted; number += 1) {
      const next = await iterator.next()
      if (!next.done) discard(next.value.stream)
      expect(next.done).toBe(false)
    }
    await iterator.return?.()
  })

  it('answers in the order it was asked, and not once it was left', async () => {
    const server = await startServer()
    const [left, kept] = [server[Symbol.asyncIterator](), server[Symbol.asyncIterator]()]
    const answers = [left.next(), kept.next(), kept.next()]
    await left.return?.()
    await openMany(await sessionTo(server), 2)
    const given = (await Promise.all(answers)).map(({ value }) => value?.stream)
    const said = given.map((stream) => stream && text(discard(stream)))
    expect(await Promise.all(said)).toEqual([undefined, '0', '1'])
  })

  it('ends when the server closes', async () => {
    const server = await startServer()
    const waiting = server[Symbol.asyncIterator]().next()
    await server.close()
    expect(await waiting).toEqual({ done: true, value: undefined })
    expect(await server[Symbol.asyncIterator]().next()).toEqual({ done: true, value: undefined })
  })
})

describe('a server', () => {
  it('names itself so that a client needs only its own key', async () => {
    const server = await startServer({ listen: '127.0.0.1:0' })
    expect(server.connectionString).toMatch(/^alknet:\/\//)
    const accepted = nextConnection(server)
    const client = discard(
      await connect(server.connectionString, { identity: (await clientKey()).path }),
    )
    await say(client, (await accepted).stream, 'found you')
  })

  it('shows the host key that its clients see, fresh each time when none is given', async () => {
    const { publicPath } = await clientKey()
    const servers = await Promise.all(
      [1, 2].map(() => serve({ listen: '127.0.0.1:0', authorizedKeys: publicPath })),
    )
    for (const server of servers) {
      afterwards(() => server.close())
      const session = await openSession({ ...(await reach(server)), hostKeys: server.hostKey })
      expect(session.hostKeyFingerprint).toBe(server.hostKeyFingerprint)
      await session.close()
    }
    expect(new Set(servers.map((server) => server.hostKeyFingerprint)).size).toBe(2)
  })

  it('refuses streams beyond limits.maxChannelsPerSession', async () => {
    const server = await startServer({ limits: { maxChannelsPerSession: 2 } })
    const session = await sessionTo(server)
    const first = discard(await session.open())
    discard(await session.open())
    expect(await rejection(session.open())).toMatchObject(full)
    const peer = (await nextConnection(server)).stream
    const ended = closing(sink(peer))
    first.destroy()
    await ended
    await openNumbered(session, 2)
  })

  it('hangs up on those who do not log in', async () => {
    const server = await startServer({ limits: { loginTimeout: 100 } })
    const [host, port] = (server.addresses[0] ?? '').split(':')
    const silent = tcpConnect(Number(port), host)
    afterwards(() => silent.destroy())
    expect(await hear(silent, 8)).toMatch(/^SSH-2\.0-/)
    await once(
      silent.resume().on('error', () => {}),
      'close',
    )
  })

  it('closes once, for everybody, and frees its port', async () => {
    const { server, session, open } = await sessionPair()
    const { client, peer } = await open()
    const ends = Promise.all([closing(sink(client)), closing(sink(peer)), once(session, 'down')])
    const closed = once(server, 'close')
    await Promise.all([server.close(), server.close(), closed])
    await server.close()
    await ends
    expect(session.up).toBe(false)
    expect(server.listening).toBe(false)
    await session.close()
    await startServer({ listen: server.addresses[0] ?? '' })
  })

  it('lets nobody in whose key it does not know, and others all the same', async () => {
    const server = await startServer()
    const options = await reach(server)
    const identity = (await strangerKey()).path
    const refused = rejection(connect({ ...options, identity }))
    const accepted = nextConnection(server)
    const client = discard(await connect(options))
    await say(client, (await accepted).stream, 'come in')
    expect(await refused).toMatchObject({ code: 'ERR_ALKNET_AUTH_REJECTED' })
  })

  it('is not disturbed by those who speak no SSH', async () => {
    // The good client comes from the same address.
    const server = await startServer({ limits: { penalties: false } })
    const [host, port] = (server.addresses[0] ?? '').split(':')
    const stranger = tcpConnect(Number(port), host).on('error', () => {})
    afterwards(() => stranger.destroy())
    stranger.end('GET / HTTP/1.1\r\nHost: example.org\r\n\r\n'.repeat(1_000))
    await closing(stranger.resume())
    const accepted = nextConnection(server)
    const client = discard(await connect(await reach(server)))
    await say(client, (await accepted).stream, 'never mind')
  })
})
