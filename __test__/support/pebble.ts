import { writeFileSync } from 'node:fs'
import { get } from 'node:https'
import { join } from 'node:path'
import { scratch } from './keys.js'
import { freePort } from './net.js'
import { peerPath } from './peers.js'
import { type Program, start } from './program.js'
import { certificate } from './transports.js'

/** A local authority that speaks ACME, with a name server that leads every name to 127.0.0.1. */
export interface Authority {
  /** Options of `serve()` that lead there. */
  acme: { acmeDirectory: string; acmeCa: string }
  /** The root of what it issues, PEM. */
  root(): Promise<Buffer>
  program: Program
}

/**
 * Starts pebble. `tlsPort` is where it looks whether a name leads there, `seconds` how long what it issues is valid, `port` its own.
 */
export async function startPebble(
  tlsPort: number,
  { seconds = 86_400, port = 0 } = {},
): Promise<Authority> {
  const own = await certificate()
  const [api, management, dns] = [port || (await freePort()), await freePort(), await freePort()]
  start(peerPath('pebble-challtestsrv'), [
    ...['-defaultIPv4', '127.0.0.1', '-defaultIPv6', '', '-dns01', `127.0.0.1:${dns}`],
    ...['-http01', '', '-https01', '', '-tlsalpn01', '', '-management', ''],
  ])
  const file = join(scratch(), `pebble-${api}.json`)
  const pebble = {
    listenAddress: `127.0.0.1:${api}`,
    managementListenAddress: `127.0.0.1:${management}`,
    certificate: own.tlsCert,
    privateKey: own.tlsKey,
    httpPort: 1,
    tlsPort,
    ocspResponderURL: '',
    externalAccountBindingRequired: false,
    certificateValidityPeriod: seconds,
  }
  writeFileSync(file, JSON.stringify({ pebble }))
  const env = { PEBBLE_VA_NOSLEEP: '1', PEBBLE_WFE_NONCEREJECT: '0', PEBBLE_AUTHZREUSE: '0' }
  const program = start(peerPath('pebble'), ['-config', file, '-dnsserver', `127.0.0.1:${dns}`], {
    env,
  })
  while (!/ACME directory available/.test(await program.line()));
  return {
    acme: { acmeDirectory: `https://127.0.0.1:${api}/dir`, acmeCa: own.tlsCert },
    root: () => fetchPem(`https://127.0.0.1:${management}/roots/0`),
    program,
  }
}

function fetchPem(url: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const asked = get(url, { rejectUnauthorized: false, agent: false }, (response) => {
      const pieces: Buffer[] = []
      response.on('data', (piece: Buffer) => pieces.push(piece))
      response.on('end', () => resolve(Buffer.concat(pieces)))
    })
    asked.on('error', reject)
  })
}
