import { once } from 'node:events'
import {
  type AddressInfo,
  createServer,
  type Server,
  type Socket,
  connect as tcpConnect,
} from 'node:net'
import { afterwards } from './cleanup.js'

/** A plain TCP server on loopback, closed with its sockets when the test is over. */
export interface TcpServer {
  /** `host:port`. */
  server: string
  port: number
  sockets: Set<Socket>
  /** The next socket that comes in. */
  next(): Promise<Socket>
}

/** Starts a TCP server; without `onSocket` it accepts and stays silent. */
export async function startTcp(
  onSocket?: (socket: Socket) => void,
  host = '127.0.0.1',
): Promise<TcpServer> {
  const sockets = new Set<Socket>()
  const listener = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    if (onSocket) onSocket(socket)
    else socket.resume().on('end', () => socket.end())
  })
  listener.listen(0, host)
  await once(listener, 'listening')
  afterwards(() => closeTcp(listener, sockets))
  const { port } = listener.address() as AddressInfo
  const next = () => new Promise<Socket>((resolve) => listener.once('connection', resolve))
  return {
    server: host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`,
    port,
    sockets,
    next,
  }
}

async function closeTcp(listener: Server, sockets: Set<Socket>): Promise<void> {
  for (const socket of sockets) socket.destroy()
  await new Promise((resolve) => listener.close(resolve))
}

/** A TCP echo server: sends back what it gets, and ends when its peer has. */
export function startEcho(host?: string): Promise<TcpServer> {
  return startTcp((socket) => void socket.pipe(socket), host)
}

/** A port on which nobody listens: it was free a moment ago. */
export async function freePort(): Promise<number> {
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address() as AddressInfo
  await new Promise((resolve) => listener.close(resolve))
  return port
}

/** A TCP relay in front of `server` that can fall silent or break. */
export interface FaultyLink {
  server: string
  /** The next socket that comes in from the near side. */
  next(): Promise<Socket>
  /** From now on bytes go nowhere, and nobody is told. */
  freeze(): void
  /** Resets every connection. */
  cut(): void
}

export async function startFaultyLink(server: string): Promise<FaultyLink> {
  const [host, port] = [
    server.slice(0, server.lastIndexOf(':')),
    server.slice(server.lastIndexOf(':') + 1),
  ]
  const legs: [Socket, Socket][] = []
  const relay = await startTcp((inner) => {
    const outer = tcpConnect(Number(port), host).on('error', () => {})
    // Both: whoever closes through half a link waits for the other half.
    afterwards(() => [inner, outer].map((socket) => socket.destroy()))
    inner.pipe(outer).pipe(inner)
    legs.push([inner, outer])
  })
  const freeze = () => {
    for (const [inner, outer] of legs) {
      inner.unpipe(outer).resume()
      outer.unpipe(inner).resume()
    }
  }
  const cut = () => {
    for (const leg of legs) for (const socket of leg) socket.resetAndDestroy()
  }
  return { server: relay.server, next: relay.next, freeze, cut }
}
