import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { scratch } from './keys.js'
import { freePort, startTcp } from './net.js'
import { peerPath } from './peers.js'
import { type Program, start } from './program.js'
import { listening } from './proxies.js'

/** A relay of iroh on loopback, without TLS. */
export interface Relay {
  /** `irohRelay` of both ends. */
  url: string
  port: number
  program: Program
}

/** Starts the relay that the makers of iroh publish. */
export async function startRelay(at?: number): Promise<Relay> {
  for (let attempt = 1; ; attempt += 1) {
    const port = at ?? (await freePort())
    const config = join(scratch(), `relay.${port}.toml`)
    writeFileSync(config, `http_bind_addr = "127.0.0.1:${port}"\nenable_metrics = false\n`)
    const program = start(peerPath('iroh-relay'), ['--dev', '--config-path', config])
    const answers = await Promise.race([listening(port), program.exit.then(() => false)])
    if (answers) return { url: `http://127.0.0.1:${port}`, port, program }
    // Another took the port meanwhile.
    if (attempt === 5) throw new Error(`no relay: ${program.stderr}`)
  }
}

/** A way to a relay that counts what goes over it, both ways. */
export async function startCounting(relay: Relay): Promise<{ url: string; bytes: () => number }> {
  let bytes = 0
  const { port } = await startTcp((socket) => {
    const far = connect(relay.port, '127.0.0.1')
    for (const [from, to] of [
      [socket, far],
      [far, socket],
    ] as const) {
      from.on('data', (chunk) => {
        bytes += chunk.length
      })
      from.on('error', () => to.destroy())
      from.pipe(to)
    }
    void once(socket, 'close').then(() => far.destroy())
  })
  return { url: `http://127.0.0.1:${port}`, bytes: () => bytes }
}
