// npm ssh2 at its best: native crypto, its default aes128-gcm, and no Nagle delay at either end.
import { once } from 'node:events'
import fs from 'node:fs'
import ssh2 from 'ssh2'
import { listenLocally } from '../lib/direct.mjs'

export async function listen({ hostKey, clientPublicKey }, onStream) {
  const allowed = ssh2.utils.parseKey(fs.readFileSync(clientPublicKey))
  const server = new ssh2.Server({ hostKeys: [fs.readFileSync(hostKey)] }, (connection) => {
    connection.setNoDelay(true)
    connection.on('error', () => {}) // a client that leaves without goodbye
    connection.on('authentication', (attempt) => logIn(attempt, allowed))
    connection.on('tcpip', (accept) => onStream(accept()))
  })
  return { address: await listenLocally(server) }
}

function logIn(attempt, allowed) {
  const known = attempt.method === 'publickey' && attempt.key.data.equals(allowed.getPublicSSH())
  if (!known) return attempt.reject(['publickey'])
  const { blob, signature, hashAlgo } = attempt
  if (signature && allowed.verify(blob, signature, hashAlgo) !== true) return attempt.reject()
  attempt.accept()
}

export async function openSession({ clientKey, hostPublicKey }, { port }) {
  const pinned = ssh2.utils.parseKey(fs.readFileSync(hostPublicKey)).getPublicSSH()
  const client = new ssh2.Client()
  const ready = once(client, 'ready')
  client.connect({
    host: '127.0.0.1',
    port,
    username: 'bench',
    privateKey: fs.readFileSync(clientKey),
    hostVerifier: (key) => key.equals(pinned),
  })
  client.setNoDelay(true)
  await ready
  return { open: () => openChannel(client), close: () => closeClient(client) }
}

function openChannel(client) {
  return new Promise((resolve, reject) => {
    client.forwardOut('127.0.0.1', 1, 'bench', 1, (error, stream) =>
      error ? reject(error) : resolve(stream),
    )
  })
}

async function closeClient(client) {
  const closed = once(client, 'close')
  client.end()
  await closed
}
