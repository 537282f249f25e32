import { once } from 'node:events'
import { type Socket, connect as tcpConnect } from 'node:net'
import { discard } from './alknet.js'
import { hear } from './bytes.js'

/** What a SOCKS5 server answered (RFC 1928 §6): 0 is success. */
export class SocksRefusal extends Error {
  readonly reply: number

  constructor(reply: number) {
    super(`the proxy answered ${reply}`)
    this.reply = reply
  }
}

/** A connection through the SOCKS5 proxy on `proxy` to `localhost:port`, by name; rejects with a {@link SocksRefusal}. */
export async function throughSocks(proxy: number, port: number): Promise<Socket> {
  const socket = discard(tcpConnect({ port: proxy, host: '127.0.0.1', allowHalfOpen: true }))
  await once(socket, 'connect')
  socket.write(Uint8Array.of(5, 1, 0))
  await hear(socket, 2)
  const name = Buffer.from('localhost')
  const words = [Buffer.from([5, 1, 0, 3, name.length]), name, Buffer.from([port >> 8, port & 255])]
  socket.write(Buffer.concat(words))
  const reply = (await hear(socket, 10)).charCodeAt(1)
  if (reply !== 0) throw new SocksRefusal(reply)
  return socket
}
