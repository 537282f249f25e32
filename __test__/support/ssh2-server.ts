import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import type { AuthContext, Connection, ServerChannel, TcpipRequestInfo } from 'ssh2'
import ssh2 from 'ssh2'
import { afterwards } from './cleanup.js'
import { clientKey, hostKey } from './keys.js'

/** What a server of npm `ssh2` does at the moments a test is about; by default it is a helpful one. */
export interface Ssh2Options {
  /** Default: lets {@link clientKey} in and nobody else. */
  authenticate?: (context: AuthContext) => void
  /** Default: accepts everything and echoes. */
  tcpip?: (accept: () => ServerChannel, reject: () => void, info: TcpipRequestInfo) => void
}

export interface Ssh2Server {
  /** `host:port`. */
  server: string
  /** The next client that gets as far as SSH. */
  next(): Promise<Connection>
}

/** Lets in whoever proves {@link clientKey}. */
async function onlyClientKey(): Promise<(context: AuthContext) => void> {
  const known = ssh2.utils.parseKey(readFileSync((await clientKey()).publicPath))
  if (known instanceof Error) throw known
  return (context) => {
    if (context.method !== 'publickey' || !context.key.data.equals(known.getPublicSSH())) {
      context.reject(['publickey'])
    } else if (context.signature && context.blob) {
      const { blob, signature, hashAlgo } = context
      if (known.verify(blob, signature, hashAlgo) === true) context.accept()
      else context.reject(['publickey'])
    } else {
      context.accept()
    }
  }
}

/** Sends back what comes and ends after its peer. */
export function echo(channel: ServerChannel): void {
  channel.on('error', () => {})
  channel.pipe(channel)
}

/** Starts an SSH server of npm `ssh2` on a free port of loopback, with {@link hostKey}. */
export async function startSsh2(options?: Ssh2Options): Promise<Ssh2Server> {
  const authenticate = options?.authenticate ?? (await onlyClientKey())
  const tcpip = options?.tcpip ?? ((accept) => echo(accept()))
  const connections = new Set<Connection>()
  const listener = new ssh2.Server({ hostKeys: [readFileSync((await hostKey()).path)] })
  listener.on('connection', (connection) => {
    connections.add(connection)
    connection.on('error', () => {})
    connection.on('close', () => connections.delete(connection))
    connection.on('authentication', authenticate)
    connection.on('tcpip', tcpip)
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  afterwards(() => {
    for (const connection of connections) connection.end()
    listener.close()
  })
  const { port } = listener.address() as AddressInfo
  const next = () => new Promise<Connection>((resolve) => listener.once('connection', resolve))
  return { server: `127.0.0.1:${port}`, next }
}
