import { getEventListeners, once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { type AlknetConnectOptions, connect, openSession, serve } from '../index.js'
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
import { say } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { clientKey, hostKey } from './support/keys.js'
import { startTcp } from './support/net.js'
import { echo, startSsh2 } from './support/ssh2-server.js'

/** Options that fit every server of these tests. */
async function options(server: string): Promise<AlknetConnectOptions> {
  const [host, client] = await Promise.all([hostKey(), clientKey()])
  return { server, hostKeys: host.fingerprint, identity: client.path }
}

const reason = new Error('the user went away')

/** Every abort must look like those of Node itself. */
const abortError = { name: 'AbortError', code: 'ABORT_ERR', cause: reason }

/**
 * Starts a peer that never gets past one phase of connect(); `reached` resolves there, `ended` when the peer has seen
 * its client go.
 */
type Stuck = { server: string; reached: Promise<unknown>; ended: Promise<unknown> }

async function silentFrom(greeting?: string): Promise<Stuck> {
  const peer = await startTcp()
  const socket = peer.next()
  const reached = socket.then(async (it) => {
    if (greeting === undefined) return
    it.write(greeting)
    await once(it, 'data')
  })
  const ended = socket.then(closing)
  return { server: peer.server, reached, ended }
}

async function silentSsh2(phase: 'auth' | 'channel'): Promise<Stuck> {
  let arrive = () => {}
  const reached = new Promise<void>((resolve) => {
    arrive = resolve
  })
  const peer = await startSsh2({
    ...(phase === 'auth' ? { authenticate: () => arrive() } : {}),
    tcpip: () => arrive(),
  })
  const ended = peer.next().then(closing)
  return { server: peer.server, reached, ended }
}

const phases: [string, () => Promise<Stuck>][] = [
  ['with a peer that says nothing', () => silentFrom()],
  ['with a peer that stops after its identification', () => silentFrom('SSH-2.0-stuck\r\n')],
  ['while logging in', () => silentSsh2('auth')],
  ['while the channel opens', () => silentSsh2('channel')],
]

describe('aborting connect()', () => {
  it('before it starts makes no connection', async () => {
    const peer = await startTcp()
    const attempt = connect({ ...(await options(peer.server)), signal: AbortSignal.abort(reason) })
    expect(await rejection(attempt)).toMatchObject(abortError)
    expect(peer.sockets.size).toBe(0)
  })

  it('in the same turn ends the attempt', async () => {
    const server = await startServer()
    const controller = new AbortController()
    const attempt = connect({ ...(await reach(server)), signal: controller.signal })
    controller.abort(reason)
    expect(await rejection(attempt)).toMatchObject(abortError)
  })

  it('while a name is looked up ends the attempt', async () => {
    const controller = new AbortController()
    const attempt = connect({
      ...(await options('nonexistent.invalid')),
      signal: controller.signal,
    })
    controller.abort(reason)
    expect(await rejection(attempt)).toMatchObject(abortError)
  })

  it.each(phases)('%s ends the attempt and its socket', async (_phase, start) => {
    const stuck = await start()
    const controller = new AbortController()
    const attempt = connect({ ...(await options(stuck.server)), signal: controller.signal })
    const refused = rejection(attempt)
    await stuck.reached
    controller.abort(reason)
    expect(await refused).toMatchObject(abortError)
    await stuck.ended
  })

  it.each(phases)('%s works for openSession() or its open()', async (phase, start) => {
    const stuck = await start()
    const controller = new AbortController()
    const { signal } = controller
    const attempt = options(stuck.server).then(async (to) => {
      if (!phase.includes('channel')) return openSession({ ...to, signal })
      const session = await openSession(to)
      afterwards(() => session.close())
      return session.open('alknet-control', { signal })
    })
    const refused = rejection(attempt)
    await stuck.reached
    controller.abort(reason)
    expect(await refused).toMatchObject(abortError)
  })

  it('gives the reason of AbortSignal.timeout() as cause', async () => {
    const peer = await startTcp()
    const signal = AbortSignal.timeout(20)
    const error = await rejection(connect({ ...(await options(peer.server)), signal }))
    expect(error).toMatchObject({ name: 'AbortError', cause: { name: 'TimeoutError' } })
  })

  it('has no effect afterwards and leaves no listener on the signal', async () => {
    const server = await startServer()
    const accepted = nextConnection(server)
    const controller = new AbortController()
    const client = discard(await connect({ ...(await reach(server)), signal: controller.signal }))
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
    controller.abort(reason)
    await say(client, (await accepted).stream, 'still here')
  })

  it('leaves no listener on the signal when connect() fails by itself', async () => {
    const { signal } = new AbortController()
    await rejection(connect({ ...(await options('nonexistent.invalid')), signal }))
    expect(getEventListeners(signal, 'abort')).toEqual([])
  })
})

describe('aborting open()', () => {
  it('before it starts leaves the session as it was', async () => {
    const { session, open } = await sessionPair()
    const attempt = session.open(undefined, { signal: AbortSignal.abort(reason) })
    expect(await rejection(attempt)).toMatchObject(abortError)
    const { client, peer } = await open()
    await say(client, peer, 'next one')
  })

  it('leaves the session usable and closes a channel that is granted too late', async () => {
    const closed: Promise<unknown>[] = []
    let grant = () => {}
    const asked = new Promise<void>((resolve) => {
      grant = resolve
    })
    let grantLate = () => {}
    const peer = await startSsh2({
      tcpip: (accept, _reject, { destIP }) => {
        if (destIP === 'alknet-control') return echo(accept())
        grantLate = () => void closed.push(closing(accept().resume()))
        grant()
      },
    })
    const session = await openSession(await options(peer.server))
    afterwards(() => session.close())
    const controller = new AbortController()
    const refused = rejection(session.open('late:1', { signal: controller.signal }))
    await asked
    controller.abort(reason)
    expect(await refused).toMatchObject(abortError)
    grantLate()
    const client = discard(await session.open())
    await say(client, client, 'next one')
    expect(closed).toHaveLength(1)
    await closed[0]
  })

  it('is done by its timeout, with ETIMEDOUT', async () => {
    const peer = await startSsh2({
      tcpip: (accept, _reject, { destIP }) => destIP === 'alknet-control' && echo(accept()),
    })
    const session = await openSession(await options(peer.server))
    afterwards(() => session.close())
    const attempt = session.open('silent:1', { timeout: 50 })
    expect(await rejection(attempt)).toMatchObject({ code: 'ETIMEDOUT', phase: 'channel' })
    const client = discard(await session.open())
    await say(client, client, 'next one')
  })

  it('is done by close() of the session', async () => {
    const peer = await startSsh2({ tcpip: () => {} })
    const session = await openSession(await options(peer.server))
    const attempt = rejection(session.open())
    await session.close()
    expect(await attempt).toMatchObject({ code: 'ERR_ALKNET_SESSION_CLOSED' })
    expect(await rejection(session.open())).toMatchObject({ code: 'ERR_ALKNET_SESSION_CLOSED' })
  })
})

describe('aborting serve()', () => {
  it('before it starts listens nowhere', async () => {
    const { publicPath } = await clientKey()
    const signal = AbortSignal.abort(reason)
    const attempt = serve({ listen: '127.0.0.1:0', authorizedKeys: publicPath, signal })
    expect(await rejection(attempt)).toMatchObject(abortError)
  })

  it('closes the server, its streams and its port', async () => {
    const controller = new AbortController()
    const server = await startServer({ signal: controller.signal })
    const accepted = nextConnection(server)
    const client = discard(await connect(await reach(server)))
    const ends = Promise.all([closing(sink(client)), closing(sink((await accepted).stream))])
    const closed = once(server, 'close')
    controller.abort(reason)
    await Promise.all([closed, ends])
    expect(server.listening).toBe(false)
    await startServer({ listen: server.addresses[0] ?? '' })
  })
})
