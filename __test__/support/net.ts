import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import {
  type AddressInfo,
  createServer,
  type Server,
  type Socket,
  connect as tcpConnect,
} from 'node:net'
import { afterwards } from './cleanup.js'
import { type LinkOptions, startLink } from './link.mjs'
import { startNode } from './program.js'

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

/** Bytes that the system holds of connections from and to these ports of IPv4, sent and not taken yet: see proc_pid_net(5). */
export function inKernel(ports: number[]): number {
  const rows = readFileSync('/proc/net/tcp', 'utf8').trim().split('\n').slice(1)
  const port = (at = '') => Number.parseInt(at.split(':')[1] ?? '', 16)
  return rows
    .map((row) => row.trim().split(/\s+/))
    .filter(([, local, remote]) => ports.includes(port(local)) || ports.includes(port(remote)))
    .flatMap(([, , , , queues]) => queues?.split(':') ?? [])
    .reduce((sum, bytes) => sum + Number.parseInt(bytes, 16), 0)
}

/** A port on which nobody listens: it was free a moment ago. */
export async function freePort(): Promise<number> {
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address() as AddressInfo
  await new Promise((resolve) => listener.close(resolve))
  return port
}

/** A port to which a connect neither succeeds nor fails, as behind a firewall that drops. */
export async function startBlackHole(): Promise<number> {
  const program = startNode('deaf')
  const port = Number(await program.line())
  for (const _ of [1, 2]) {
    const socket = tcpConnect(port, '127.0.0.1')
    afterwards(() => socket.destroy())
    await once(socket, 'connect')
  }
  return port
}

/** A link in front of `server` that can fall silent or break, closed when the test is over. */
export async function startFaultyLink(server: string, options?: LinkOptions) {
  const link = await startLink(server, options)
  afterwards(() => link.close())
  return link
}
