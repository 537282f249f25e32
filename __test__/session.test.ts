import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { type AlknetServer, type AlknetSession, openSession } from '../index.js'
import {
  closing,
  discard,
  nextConnection,
  reach,
  rejection,
  sink,
  startServer,
} from './support/alknet.js'
import { say } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { clientKey, makeKey } from './support/keys.js'
import { freePort, startFaultyLink } from './support/net.js'
import { startNode } from './support/program.js'

/** A supervised session through a link that can be cut. */
async function through() {
  const server = await startServer()
  const link = await startFaultyLink((await reach(server)).server)
  const session = await openSession({ ...(await reach(server)), server: link.server })
  afterwards(() => session.close())
  return { server, link, session }
}

/** Opens a stream and talks through it. */
async function talks(session: AlknetSession, server: AlknetServer): Promise<void> {
  const accepted = nextConnection(server)
  const client = discard(await session.open())
  const { stream } = await accepted
  // The session may be cut later.
  for (const end of [client, stream]) end.on('error', () => {})
  await say(client, stream, 'there')
  await say(stream, client, 'and back')
}

describe('a supervised session', () => {
  it('comes back at once when its connection breaks, and says so', async () => {
    const { server, link, session } = await through()
    await talks(session, server)
    const told: string[] = []
    session.on('down', (error) => told.push(`down ${error.code}`)).on('up', () => told.push('up'))
    const up = once(session, 'up')
    link.cut()
    await up
    await talks(session, server)
    expect(told).toEqual(['down ERR_ALKNET_SESSION_CLOSED', 'up'])
    expect(session).toMatchObject({ up: true, closed: false })
  })

  it('fails the streams of the session that was lost, and only those', async () => {
    const { link, session } = await through()
    const before = discard(await session.open())
    const lost = closing(sink(before))
    const up = once(session, 'up')
    link.cut()
    expect(await lost).toMatchObject({ code: 'ERR_ALKNET_SESSION_CLOSED' })
    await up
    const after = discard(await session.open())
    expect(after.info.sessionId).not.toBe(before.info.sessionId)
  })

  it('lets open() wait for the next session', async () => {
    const { server, link, session } = await through()
    const down = once(session, 'down')
    link.cut()
    await down
    await talks(session, server)
  })

  it('lets open() wait no longer than it may', async () => {
    const server = await startServer()
    const options = { ...(await reach(server)), reconnect: { wait: 50 } }
    const session = await openSession(options)
    afterwards(() => session.close())
    const down = once(session, 'down')
    await server.close()
    await down
    const error = await rejection(session.open())
    expect(error).toMatchObject({ code: 'ERR_ALKNET_RECONNECTING', phase: 'channel' })
    expect(String(error)).toContain('no session at the moment')
    expect(session.metrics()).toMatchObject({ up: false, sessions: 1, refused: 1 })
  })

  it('finds a server that was killed and started again on its port', async () => {
    const { path, publicPath } = await clientKey()
    const listen = `127.0.0.1:${await freePort()}`
    const host = await makeKey('restarted')
    const more = JSON.stringify({ listen, hostKey: host.path })
    const first = startNode('serve', [publicPath, 'echo', more])
    const { server, hostKeys } = await first.json<{ server: string; hostKeys: string }>()
    const session = await openSession({
      server,
      hostKeys,
      identity: path,
      reconnect: { wait: 60_000, longestPause: 50 },
    })
    afterwards(() => session.close())
    const down = once(session, 'down')
    first.kill('SIGKILL')
    await down
    await startNode('serve', [publicPath, 'echo', more]).json()
    const stream = discard(await session.open(undefined, { timeout: 60_000 }))
    await say(stream, stream, 'again')
    expect(session.metrics().sessions).toBe(2)
  })

  it('takes no other host key than the first, though both are known', async () => {
    const [one, two] = await Promise.all([makeKey('host-one'), makeKey('host-two')])
    const first = await startServer({ hostKey: one.path })
    const target = await reach(first)
    const session = await openSession({ ...target, hostKeys: [one.fingerprint, two.fingerprint] })
    const closed = once(session, 'close')
    const down = once(session, 'down')
    await first.close()
    await down
    await startServer({ hostKey: two.path, listen: target.server })
    const [error] = await closed
    expect(error).toMatchObject({ code: 'ERR_ALKNET_HOST_KEY_CHANGED' })
    expect(session.closed).toBe(true)
    expect(await rejection(session.open())).toMatchObject({ code: 'ERR_ALKNET_SESSION_CLOSED' })
  })

  it('counts what it has done', async () => {
    const { server, link, session } = await through()
    await talks(session, server)
    const up = once(session, 'up')
    link.cut()
    await up
    await talks(session, server)
    const { bytesReceived, bytesSent, ...counts } = session.metrics()
    expect(counts).toMatchObject({ up: true, sessions: 2, opened: 2, refused: 0 })
    expect(bytesSent).toBe(2 * 'there'.length)
    expect(bytesReceived).toBe(2 * 'and back'.length)
  })

  it('is over after close(), though there was no session at that moment', async () => {
    const { link, server, session } = await through()
    const down = once(session, 'down')
    await server.close()
    link.cut()
    await down
    const closed = once(session, 'close')
    await session.close()
    expect(await closed).toEqual([])
  })

  it('takes a fresh session after hundreds of streams, while older streams go on', async () => {
    const { server, session } = await through()
    const sessions = new Set<string>()
    server.onConnection((stream, info) => {
      sessions.add(info.sessionId)
      stream.on('error', () => {}).pipe(stream)
    })
    const first = discard(await session.open())
    const shorts = async (count: number) => {
      for (let turn = 0; turn < count; turn++) {
        const stream = discard(await session.open())
        const closed = closing(sink(stream))
        stream.end()
        await closed
      }
    }
    await Promise.all(Array.from({ length: 16 }, () => shorts(70)))
    while (sessions.size < 3) await shorts(16)
    expect(session.metrics()).toMatchObject({ up: true, sessions: 1, openStreams: 1 })
    const answer = once(first, 'data')
    first.write('still there')
    expect(String((await answer)[0])).toBe('still there')
    expect(session.metrics().bytesSent).toBe(11)
  })
})

describe('openSession()', () => {
  it('rejects with the reason when the first attempt fails', async () => {
    const attempt = openSession({
      server: `127.0.0.1:${await freePort()}`,
      identity: (await clientKey()).path,
      hostKeys: 'SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
    })
    expect(await rejection(attempt)).toMatchObject({ code: 'ECONNREFUSED' })
  })

  it('waits for a server that is not there yet when it may', async () => {
    const listen = `127.0.0.1:${await freePort()}`
    const host = await makeKey('late')
    const opening = openSession({
      server: listen,
      identity: (await clientKey()).path,
      hostKeys: host.fingerprint,
      reconnect: { fromTheStart: true, longestPause: 50 },
    })
    const server = await startServer({ listen, hostKey: host.path })
    const session = await opening
    afterwards(() => session.close())
    await talks(session, server)
  })

  it('that waits for a server ends by its signal', async () => {
    const controller = new AbortController()
    const opening = openSession({
      server: `127.0.0.1:${await freePort()}`,
      identity: (await clientKey()).path,
      hostKeys: 'SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
      reconnect: { fromTheStart: true },
      signal: controller.signal,
    })
    controller.abort()
    expect(await rejection(opening)).toMatchObject({ name: 'AbortError' })
  })

  it.each([
    [7, 'ERR_INVALID_ARG_TYPE'],
    [{ wait: -1 }, 'ERR_INVALID_ARG_VALUE'],
    [{ longestPause: 0 }, 'ERR_INVALID_ARG_VALUE'],
    [{ fromTheStart: 'yes' }, 'ERR_INVALID_ARG_TYPE'],
  ])('refuses reconnect: %j', async (reconnect, code) => {
    const attempt = openSession({ server: 'h', reconnect: reconnect as never })
    expect(await rejection(attempt)).toMatchObject({ name: 'TypeError', code })
  })
})
