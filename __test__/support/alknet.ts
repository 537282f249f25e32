import type { Duplex } from 'node:stream'
import {
  type AlknetConnection,
  type AlknetConnectOptions,
  type AlknetServeOptions,
  type AlknetServer,
  type AlknetSession,
  type AlknetStream,
  connect,
  openSession,
  serve,
} from '../../index.js'
import { afterwards } from './cleanup.js'
import { clientKey, hostKey } from './keys.js'

/** Destroys `stream` when the test is over, whatever became of it. */
export function discard<T extends Duplex>(stream: T): T {
  afterwards(() => {
    stream.on('error', () => {})
    stream.destroy()
  })
  return stream
}

/** A server on a free port of loopback that lets {@link clientKey} in and closes with the test. */
export async function startServer(options?: AlknetServeOptions): Promise<AlknetServer> {
  const [host, client] = await Promise.all([hostKey(), clientKey()])
  const server = await serve({
    listen: '127.0.0.1:0',
    hostKey: host.path,
    authorizedKeys: client.publicPath,
    ...options,
  })
  afterwards(() => server.close())
  return server
}

/** What `connect()` and `openSession()` need to reach `server`. */
export async function reach(
  server: AlknetServer,
): Promise<AlknetConnectOptions & { server: string }> {
  const address = server.addresses[0]
  if (address === undefined) throw new Error('the server has no address')
  const identity = (await clientKey()).path
  return { server: address, hostKeys: server.hostKeyFingerprint, identity }
}

/** The same for a server of any transport; `options` are more of the client's. */
export async function meet(
  server: AlknetServer,
  options?: AlknetConnectOptions,
): Promise<AlknetConnectOptions> {
  const { server: address, ...rest } = await reach(server)
  const { endpointId: peer, addresses: irohAddress } = server
  return { ...rest, ...(peer ? { peer, irohAddress } : { server: address }), ...options }
}

/** The next stream that `server` accepts. */
export function nextConnection(server: AlknetServer): Promise<AlknetConnection> {
  return new Promise((resolve) => {
    server.once('connection', (stream, info) => resolve({ stream: discard(stream), info }))
  })
}

/** The two ends of one stream. */
export interface Pair {
  client: AlknetStream
  peer: AlknetStream
}

export interface PairOptions {
  serve?: AlknetServeOptions
  connect?: AlknetConnectOptions
}

/** Starts a server, connects to it and gives both ends. */
export async function pair(options?: PairOptions): Promise<Pair & { server: AlknetServer }> {
  const server = await startServer(options?.serve)
  const accepted = nextConnection(server)
  const client = discard(await connect(await meet(server, options?.connect)))
  return { server, client, peer: (await accepted).stream }
}

/** A server and one session to it, on which `open()` gives both ends of as many streams as wanted. */
export interface SessionPair {
  server: AlknetServer
  session: AlknetSession
  open(): Promise<Pair>
}

export async function sessionPair(options?: PairOptions): Promise<SessionPair> {
  const server = await startServer(options?.serve)
  const session = await openSession(await meet(server, options?.connect))
  afterwards(() => session.close())
  const open = async () => {
    const accepted = nextConnection(server)
    const client = discard(await session.open())
    return { client, peer: (await accepted).stream }
  }
  return { server, session, open }
}

/** How a stream (or socket, or session) ended: its `'error'`, or nothing, once `'close'` has come. */
export function closing(stream: NodeJS.EventEmitter): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => {
    let failure: NodeJS.ErrnoException | undefined
    stream.once('error', (error: NodeJS.ErrnoException) => {
      failure = error
    })
    stream.once('close', () => resolve(failure))
  })
}

/** Reads and forgets whatever comes, so that `'end'` can. */
export function sink<T extends Duplex>(stream: T): T {
  return stream.resume()
}

/** The reason a promise was rejected with; fails when it was not. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => {
      throw new Error(`resolved with ${String(value)} instead of being rejected`)
    },
    (reason: unknown) => reason,
  )
}
