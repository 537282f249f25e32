// TLS 1.3 with the cipher that is fastest here, a pinned certificate, no session resumption.
import { once } from 'node:events'
import fs from 'node:fs'
import tls from 'node:tls'
import { directSession, listenLocally } from '../lib/direct.mjs'

const settings = { ciphers: 'TLS_AES_128_GCM_SHA256', minVersion: 'TLSv1.3', noDelay: true }

export async function listen({ certificate, certificateKey }, onStream) {
  const identity = { cert: fs.readFileSync(certificate), key: fs.readFileSync(certificateKey) }
  const server = tls.createServer({ ...settings, ...identity }, onStream)
  server.on('tlsClientError', () => {}) // a client that leaves early
  return { address: await listenLocally(server) }
}

export async function openSession({ certificate }, { port }) {
  const trust = { ca: fs.readFileSync(certificate), servername: 'localhost' }
  return directSession(async () => {
    const socket = tls.connect({ ...settings, ...trust, host: '127.0.0.1', port })
    socket.setNoDelay(true)
    await once(socket, 'secureConnect')
    return socket
  })
}
