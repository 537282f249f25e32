import { once } from 'node:events'
import { type Socket, connect as tcpConnect } from 'node:net'
import { describe, expect, it } from 'vitest'
import { type AlknetSessionOptions, openSession } from '../index.js'
import { closing, discard, reach, sink, startServer } from './support/alknet.js'
import { MiB, receive, receiveAll, say, send } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { connectAlknet, serveAlknet } from './support/cli.js'
import { freePort, startBlackHole, startEcho, startFaultyLink, startTcp } from './support/net.js'
import { SocksRefusal, throughSocks } from './support/proxy.js'

const dial = (port: number | undefined): Socket =>
  discard(tcpConnect({ port: port ?? 0, host: '127.0.0.1', allowHalfOpen: true }))

/** A forward to an echo server through a link that can fail. */
async function overLink(options: AlknetSessionOptions) {
  const server = await startServer({
    forwarding: { remote: true },
    keepalive: { interval: 1_000, count: 60 },
  })
  const there = await reach(server)
  const link = await startFaultyLink(there.server)
  const session = await openSession({ ...there, ...options, server: link.server })
  afterwards(() => session.close())
  const where = { listen: '127.0.0.1:0', target: (await startEcho()).server }
  const local = await session.forward(where)
  return { session, link, local, remote: await session.remoteForward(where) }
}

describe('a proxy', () => {
  it('serves 200 opens at once of which one goes into a black hole and one is refused', async () => {
    const { ports } = await connectAlknet(await serveAlknet(), ['-D', '127.0.0.1:0'])
    const [proxy] = ports as [number]
    const [echo, hole, closed] = [await startEcho(), await startBlackHole(), await freePort()]
    let swallowed = false
    const gone = () => {
      swallowed = true
    }
    throughSocks(proxy, hole).then(gone, gone)
    const refused = throughSocks(proxy, closed).catch((error: SocksRefusal) => error.reply)
    const open = async (_: unknown, i: number) => {
      const socket = await throughSocks(proxy, echo.port)
      await say(socket, socket, `number ${i}`)
    }
    await Promise.all(Array.from({ length: 198 }, open))
    expect(await refused).toBe(5) // RFC 1928 §6: connection refused
    expect(swallowed).toBe(false)
  })
})

describe('a forward', () => {
  it('goes on beside a target that does not read, which loses nothing', async () => {
    const served = await serveAlknet()
    const slow = await startTcp((socket) => socket.pause())
    const echo = await startEcho()
    const target = slow.next()
    const { ports } = await connectAlknet(served, [
      ...['-L', `127.0.0.1:0:${slow.server}`, '-L', `127.0.0.1:0:${echo.server}`],
    ])
    const stuck = dial(ports[0])
    const sent = send(stuck, 24 * MiB).then(() => stuck.end())
    const other = dial(ports[1])
    await Promise.all([send(other, 16 * MiB), receive(other, 16 * MiB)])
    expect(await receiveAll(await target)).toBe(24 * MiB)
    await sent
  })

  it('loses nothing while its link is down and back in time, in full transfer both ways', async () => {
    const { session, link, local, remote } = await overLink({
      keepalive: { interval: 1_000, count: 60 },
    })
    const downs: unknown[] = []
    session.on('down', (error) => downs.push(error))
    const sockets = [dial(local.port), dial(remote.port)]
    for (const socket of sockets) await say(socket, socket, 'open')
    const moves = sockets.map((socket) =>
      Promise.all([send(socket, 8 * MiB), receive(socket, 8 * MiB)]),
    )
    for (const _ of [1, 2, 3]) {
      link.freeze()
      await link.full()
      link.thaw()
    }
    await Promise.all(moves)
    expect(downs).toEqual([])
  })

  const ways: { ways: ('up' | 'down')[] }[] = [
    { ways: ['up', 'down'] },
    { ways: ['up'] },
    { ways: ['down'] },
  ]
  it.each(ways)(
    'gives up what a black hole ($ways) swallows, and works again when the link is back',
    async ({ ways }) => {
      const { session, link, local, remote } = await overLink({
        keepalive: { interval: 100, count: 2 },
        reconnect: { wait: 60_000, longestPause: 50 },
        connectTimeout: 1_000,
      })
      const socket = dial(local.port)
      await say(socket, socket, 'before')
      const [lost, down] = [closing(sink(socket)), once(session, 'down')]
      link.freeze(...ways)
      expect(await lost).toMatchObject({ code: 'ECONNRESET' })
      await down
      // Whoever comes meanwhile waits for the next session.
      const early = dial(local.port)
      const heard = say(early, early, 'meanwhile')
      const up = once(session, 'up')
      link.thaw()
      await up
      await heard
      for (;;) {
        const late = dial(remote.port)
        const served = await Promise.race([
          say(late, late, 'after').then(() => true),
          once(late, 'error').then(() => false),
        ]).catch(() => false)
        if (served) break
      }
    },
  )
})

describe('out of file descriptors', () => {
  const scarce = ['prlimit', '--nofile=64:64']

  it('a client keeps what is open, and takes connections again when there is room', async () => {
    const echo = await startEcho()
    const forward = ['-L', `127.0.0.1:0:${echo.server}`]
    const { ports } = await connectAlknet(await serveAlknet(), forward, scarce)
    const first = dial(ports[0])
    await say(first, first, 'first')
    // More than it has room for: the first are served, the last are closed.
    const crowd = Array.from({ length: 100 }, () => dial(ports[0]).on('error', () => {}))
    await Promise.all(crowd.slice(0, 20).map((socket, i) => say(socket, socket, `early ${i}`)))
    await say(first, first, 'still here')
    for (const socket of crowd) socket.destroy()
    // Who comes while it has none is closed.
    for (;;) {
      const last = dial(ports[0]).on('error', () => {})
      if (
        await say(last, last, 'last').then(
          () => true,
          () => false,
        )
      )
        break
    }
  })

  it('a server says so to whoever wants one more, and keeps the session', async () => {
    const served = await serveAlknet([], { under: scarce })
    const echo = await startEcho()
    const { ports } = await connectAlknet(served, ['-D', '127.0.0.1:0'])
    const [proxy] = ports as [number]
    const opens = Array.from({ length: 100 }, () => throughSocks(proxy, echo.port))
    const settled = await Promise.allSettled(opens)
    const open = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
    const refused = settled.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []))
    expect(open.length).toBeGreaterThan(20)
    expect(refused.length).toBeGreaterThan(20)
    for (const error of refused) expect(error).toBeInstanceOf(SocksRefusal)
    for (const socket of open) await say(socket, socket, 'mine')
    for (const socket of open) socket.destroy()
    for (;;) {
      const socket = await throughSocks(proxy, echo.port).catch(() => undefined)
      if (!socket) continue
      await say(socket, socket, 'again')
      break
    }
  })
})
