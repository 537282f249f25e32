import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { AlknetTransport } from '../../index.js'
import type { PairOptions } from './alknet.js'
import { memo } from './cleanup.js'
import { scratch } from './keys.js'

const run = promisify(execFile)

/** A certificate for `localhost` and `127.0.0.1` that vouches for itself, and its key, as PEM files. */
export interface Certificate {
  tlsCert: string
  tlsKey: string
}

/** Makes a certificate with `openssl`. */
export async function makeCertificate(name: string, alt = 'DNS:localhost,IP:127.0.0.1') {
  const [tlsCert, tlsKey] = [join(scratch(), `${name}.crt`), join(scratch(), `${name}.pem`)]
  await run('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
    ...['-days', '2', '-subj', `/CN=${name}`, '-keyout', tlsKey, '-out', tlsCert],
    ...['-addext', `subjectAltName=${alt}`, '-addext', 'basicConstraints=critical,CA:FALSE'],
  ])
  return { tlsCert, tlsKey } satisfies Certificate
}

/** The certificate of whatever server a test starts. */
export const certificate = memo(() => makeCertificate('localhost'))

/** Those whose streams can be tried on loopback alone. */
export const transports: readonly AlknetTransport[] = ['tcp', 'tls', 'ws', 'wss', 'iroh']

/** What both ends of a `pair()` or `sessionPair()` need to meet over `transport`. */
export async function over(transport: AlknetTransport): Promise<PairOptions> {
  if (transport !== 'tls' && transport !== 'wss') {
    return { serve: { transport }, connect: { transport } }
  }
  const own = await certificate()
  return { serve: { transport, ...own }, connect: { transport, tlsCa: own.tlsCert } }
}
