import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { scratch } from './keys.js'
import { freePort, startTcp } from './net.js'
import { peerPath } from './peers.js'
import { type Program, start } from './program.js'
import { listening } from './proxies.js'
import type { Certificate } from './transports.js'

/** A relay of iroh on loopback. */
export interface Relay {
  /** `irohRelay` of both ends. */
  url: string
  port: number
  program: Program
}

/** Starts the relay that the makers of iroh publish, with TLS if there is a certificate. */
export async function startRelay(at?: number, tls?: Certificate): Promise<Relay> {
  for (let attempt = 1; ; attempt += 1) {
    const port = at ?? (await freePort())
    const config = join(scratch(), `relay.${port}.toml`)
    const text = tls ? await secured(port, tls) : `http_bind_addr = "127.0.0.1:${port}"`
    writeFileSync(config, `enable_metrics = false\n${text}\n`)
    const mode = tls ? [] : ['--dev']
    const program = start(peerPath('iroh-relay'), [...mode, '--config-path', config])
    const answers = await Promise.race([listening(port), program.exit.then(() => false)])
    const url = tls ? `https://localhost:${port}` : `http://127.0.0.1:${port}`
    if (answers) return { url, port, program }
    // Another took the port meanwhile.
    if (attempt === 5) throw new Error(`no relay: ${program.stderr}`)
  }
}

/** Without QUIC, for which it would need a port that clients expect. */
async function secured(port: number, { tlsCert, tlsKey }: Certificate): Promise<string> {
  return [
    `http_bind_addr = "127.0.0.1:${await freePort()}"`,
    'enable_quic_addr_discovery = false',
    '[tls]',
    `https_bind_addr = "127.0.0.1:${port}"`,
    'hostname = "localhost"',
    'cert_mode = "Manual"',
    `manual_cert_path = "${tlsCert}"`,
    `manual_key_path = "${tlsKey}"`,
  ].join('\n')
}

/** A way to a relay, which counts what goes over it in both directions. */
export interface Way {
  url: string
  bytes: number
  /** Whether it leads there. Connections that come while it does not are heard, and never answered. */
  leads: boolean
}

export async function startWay(relay: Relay): Promise<Way> {
  const way: Way = { url: '', bytes: 0, leads: true }
  const { port } = await startTcp((socket) => {
    if (!way.leads) return void socket.resume()
    const far = connect(relay.port, '127.0.0.1')
    for (const [from, to] of [
      [socket, far],
      [far, socket],
    ] as const) {
      from.on('data', (chunk) => {
        way.bytes += chunk.length
      })
      from.on('error', () => to.destroy())
      from.pipe(to)
    }
    socket.on('close', () => far.destroy())
  })
  way.url = `http://127.0.0.1:${port}`
  return way
}
