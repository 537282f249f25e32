import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, type Socket, connect as tcp } from 'node:net'
import { WebSocket, WebSocketServer } from 'ws'
import { afterwards } from './cleanup.js'

// The tunnel as the original's pieces speak it, written from its description and from nothing of ours.

export const type = {
  connect: 1,
  connected: 2,
  data: 3,
  close: 4,
  error: 5,
  ping: 6,
  pong: 7,
} as const

export interface Message {
  type: number
  proto: number
  id: number
  port: number
  payload: Buffer
}

export function encode({ type, proto = 0, id, port = 0, payload }: Partial<Message>): Buffer {
  const header = Buffer.alloc(8)
  header.writeUInt8(type ?? 0, 0)
  header.writeUInt8(proto, 1)
  header.writeUInt32BE(id ?? 0, 2)
  header.writeUInt16BE(port, 6)
  return Buffer.concat([header, payload ?? Buffer.alloc(0)])
}

export function decode(bytes: Buffer): Message {
  return {
    type: bytes.readUInt8(0),
    proto: bytes.readUInt8(1),
    id: bytes.readUInt32BE(2),
    port: bytes.readUInt16BE(6),
    payload: bytes.subarray(8),
  }
}

/** Messages and texts as they come, and how it ended. */
export class Peer {
  readonly socket: WebSocket
  readonly closed: Promise<{ code: number; reason: string }>
  readonly seen: Message[] = []
  readonly texts: string[] = []
  readonly #waiting = new Set<() => void>()
  #over = false

  constructor(socket: WebSocket) {
    this.socket = socket
    socket.on('error', () => {})
    socket.on('message', (data, binary) => {
      if (binary) this.seen.push(decode(data as Buffer))
      else this.texts.push(String(data))
      this.#wake()
    })
    this.closed = new Promise((resolve) =>
      socket.on('close', (code, reason) => {
        this.#over = true
        this.#wake()
        resolve({ code, reason: String(reason) })
      }),
    )
    afterwards(() => socket.terminate())
  }

  /** Resolves with the first message that fits, which is taken out of `seen`. */
  async message(fits: (message: Message) => boolean): Promise<Message> {
    for (;;) {
      const at = this.seen.findIndex(fits)
      if (at >= 0) return this.seen.splice(at, 1)[0] as Message
      if (this.#over) throw new Error('the socket closed before the message')
      await new Promise<void>((resolve) => this.#waiting.add(resolve))
    }
  }

  async text(): Promise<string> {
    for (;;) {
      const text = this.texts.shift()
      if (text !== undefined) return text
      if (this.#over) throw new Error('the socket closed before a text')
      await new Promise<void>((resolve) => this.#waiting.add(resolve))
    }
  }

  send(message: Partial<Message>): void {
    this.socket.send(encode(message))
  }

  #wake(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const wake of waiting) wake()
  }
}

/** An original user's session: `CONNECTED`, or the text and the code that came instead. */
export async function dialHost(
  url: string,
  token?: string,
  protocols: string[] = [],
): Promise<Peer> {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
  return new Peer(new WebSocket(url, protocols, { headers, perMessageDeflate: true }))
}

/** An original user with a session that has begun. */
export async function user(url: string): Promise<Peer> {
  const peer = await dialHost(url)
  const text = await peer.text()
  if (text !== 'CONNECTED') throw new Error(text)
  return peer
}

/** An original agent: dials IPv4 loopback, obeys the header, closes an id when its service ends. */
export async function startOriginalAgent(runner: string, name: string): Promise<Peer> {
  const peer = new Peer(new WebSocket(`${runner}/ws/tunnel/${name}`))
  const services = new Map<number, Socket>()
  peer.socket.on('message', (data) => {
    const { type: kind, id, port, payload } = decode(data as Buffer)
    if (kind === type.connect && !services.has(id)) {
      const service = tcp(port, '127.0.0.1')
      services.set(id, service)
      service.on('connect', () => peer.send({ type: type.connected, id }))
      service.on('data', (piece) => peer.send({ type: type.data, id, payload: piece }))
      service.on('end', () => peer.send({ type: type.close, id }))
      service.on('error', () => {
        const text = 'Connection refused (os error 111)'
        peer.send({ type: type.error, id, payload: Buffer.from(text) })
      })
    }
    if (kind === type.data) services.get(id)?.write(payload)
    if (kind === type.close) {
      services.get(id)?.end()
      services.delete(id)
    }
    if (kind === type.ping) peer.send({ type: type.pong, id })
  })
  await once(peer.socket, 'open')
  afterwards(() => services.forEach((service) => void service.destroy()))
  return peer
}

/** What listens: its URL, and what was asked of it. */
export interface Original {
  url: string
  paths: string[]
}

async function listen(onSocket: (socket: WebSocket, request: IncomingMessage) => void) {
  const server = createServer()
  const sockets = new WebSocketServer({ server })
  const paths: string[] = []
  sockets.on('connection', (socket, request) => {
    paths.push(request.url ?? '')
    socket.on('error', () => {})
    onSocket(socket, request)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  afterwards(() => {
    for (const socket of sockets.clients) socket.terminate()
    server.close()
  })
  return { url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`, paths }
}

/** An original runner: ids are users' own, and texts end a socket. */
export function startOriginalRunner(): Promise<Original> {
  const agents = new Map<string, WebSocket>()
  const users = new Map<number, WebSocket>()
  return listen((socket, request) => {
    const [, , kind, name] = (request.url ?? '').split('?')[0]?.split('/') ?? []
    if (kind === 'tunnel') {
      agents.set(name ?? '', socket)
      socket.on('message', (data) => {
        const { type: what, id } = decode(data as Buffer)
        // Types that it does not know are dropped on this way.
        if (what >= type.connected && what <= type.error) users.get(id)?.send(data as Buffer)
      })
      return
    }
    if (kind === 'task') {
      // A terminal that says what it was told, and ends after the first key.
      const show = (data: string) => socket.send(JSON.stringify({ type: 'output', data }))
      socket.on('message', (data, binary) => {
        const said = JSON.parse(String(data))
        if (said.type === 'input') {
          show(`got ${said.data}`)
          return socket.close(1000)
        }
        show('')
        show(`${said.rows} ${said.cols} ${!binary}`)
      })
      return
    }
    const agent = agents.get(name ?? '')
    if (!agent) {
      socket.send(`Error: Container tunnel not connected (container=${name})`)
      return socket.close(1011)
    }
    socket.send('CONNECTED')
    socket.on('message', (data, binary) => {
      if (!binary) return socket.terminate()
      const { type: what, id } = decode(data as Buffer)
      agent.send(data as Buffer)
      if (what === type.connect) users.set(id, socket)
    })
  })
}
