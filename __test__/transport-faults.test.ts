/** What becomes of sessions and their forwards, over each transport, when one of the two processes is killed or falls silent. */
import { once } from 'node:events'
import { type Socket, connect as tcpConnect } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  type AlknetConnectOptions,
  type AlknetForward,
  type AlknetTransport,
  openSession,
} from '../index.js'
import { closing, discard, meet, nextConnection, sink, startServer } from './support/alknet.js'
import { say } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { clientKey, hostKey, scratch } from './support/keys.js'
import { freePort, startEcho } from './support/net.js'
import { startNode } from './support/program.js'
import { over, transports } from './support/transports.js'

/** Who does not answer for a second is gone. */
const keepalive = { interval: 250, count: 4 }
const gone = /^(ERR_ALKNET_SESSION_CLOSED|ECONNRESET|ETIMEDOUT)$/

/** A server in a process of its own that echoes, and forwards both ways; the same one whenever it is started on this port. */
async function startApart(transport: AlknetTransport, port: number) {
  const [host, client, { serve, connect }] = [
    await hostKey(),
    await clientKey(),
    await over(transport),
  ]
  const more = {
    ...serve,
    listen: `127.0.0.1:${port}`,
    hostKey: host.path,
    forwarding: { remote: true },
    keepalive,
    ...(transport === 'iroh' && { irohKey: join(scratch(), `endpoint.${port}`) }),
  }
  const program = startNode('serve', [client.publicPath, 'echo', JSON.stringify(more)])
  const reach = await program.json<AlknetConnectOptions>()
  return { program, to: { ...reach, ...connect, identity: client.path } }
}

/** A supervised session with that server, with a forward each way to an echo server here. */
async function startSession(to: AlknetConnectOptions) {
  const session = await openSession({
    ...to,
    keepalive,
    connectTimeout: 5_000,
    reconnect: { wait: 60_000, longestPause: 100 },
  })
  afterwards(() => session.close())
  const where = { listen: '127.0.0.1:0', target: (await startEcho()).server }
  const forwards = [await session.forward(where), await session.remoteForward(where)]
  for (const forward of forwards) await leads(forward)
  return { session, forwards }
}

/** Tries until a connection gets its echo; the test's own limit is the watchdog. */
async function leads({ port }: AlknetForward): Promise<void> {
  for (;;) {
    const socket: Socket = discard(tcpConnect({ port: port ?? 0, host: '127.0.0.1' }))
    const lost = once(socket, 'close').then(() => false)
    const heard = say(socket, socket, 'through').then(() => true)
    const served = await Promise.race([heard, lost]).catch(() => false)
    socket.destroy()
    if (served) return
  }
}

describe.each(transports)('over %s', (transport) => {
  it('a session whose server is killed fails its streams, and comes back with its forwards', async () => {
    const port = await freePort()
    const { program, to } = await startApart(transport, port)
    const { session, forwards } = await startSession(to)
    const stream = discard(await session.open())
    await say(stream, stream, 'before')
    const [lost, down, up] = [closing(sink(stream)), once(session, 'down'), once(session, 'up')]
    program.kill('SIGKILL')
    expect((await lost)?.code).toMatch(gone)
    await down
    await startApart(transport, port)
    await up
    for (const forward of forwards) await leads(forward)
    const after = discard(await session.open())
    await say(after, after, 'after')
    expect(after.info.transport).toBe(transport)
  })

  it('a session whose server falls silent is given up, and comes back with its forwards', async () => {
    const { program, to } = await startApart(transport, await freePort())
    const { session, forwards } = await startSession(to)
    const stream = discard(await session.open())
    const [lost, down, up] = [closing(sink(stream)), once(session, 'down'), once(session, 'up')]
    program.kill('SIGSTOP')
    expect((await lost)?.code).toMatch(gone)
    await down
    program.kill('SIGCONT')
    await up
    for (const forward of forwards) await leads(forward)
  })

  it('a server notices that its client was killed', async () => {
    const { serve, connect } = await over(transport)
    const server = await startServer({ ...serve, keepalive })
    const accepted = nextConnection(server)
    const to = await meet(server, connect)
    const client = startNode('linger', [JSON.stringify(to), 'stream-held'])
    const { stream } = await accepted
    await say(stream, stream, 'echoed')
    const lost = closing(sink(stream))
    client.kill('SIGKILL')
    expect((await lost)?.code).toMatch(gone)
  })
})
