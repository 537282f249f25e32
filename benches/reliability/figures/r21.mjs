// What is left of private keys and passphrases in memory once they are not needed any more. Logs: tests/privacy.rs.
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { connect, serve } from '../../../index.js'
import { echo, echoed, ended, reach } from '../lib/ends.mjs'
import { findInMemory } from '../lib/memory.mjs'
import { formsOf } from '../lib/secrets.mjs'

export const title = 'private keys and passphrases in memory'
const what = (times) =>
  `a server and a client that load their keys from files, ${times} sessions; then all is closed and the memory of both searched for the keys' seed, their scalar and the file's text; the same of a client whose key has a passphrase, which is searched for too`
export const runs = { full: what(20), quick: what(3) }
export const limit = { full: 120, quick: 60 }

export async function script(kit) {
  const { hostKey, clientKey } = kit.context
  const server = await kit.start('server')
  const client = await kit.start('client', server.ready)
  const sought = { server: formsOf(hostKey), client: formsOf(clientKey) }
  // Whether the search finds what is there: a server needs its key.
  const open = findInMemory(server.pid, { seed: sought.server.seed })
  kit.figure({
    name: 'control',
    what: 'host key found while the server is open',
    value: open.seed.length,
    least: 1,
  })
  await client.call('sessions', kit.pick(20, 3))
  const lock = lockedCopy(clientKey)
  try {
    const locked = await kit.start('locked', { ready: server.ready, ...lock.files })
    sought.locked = { ...sought.client, passphrase: lock.passphrase }
    await locked.call('sessions', kit.pick(20, 3))
    await server.call('close')
    search(kit, { server, client, locked }, sought)
  } finally {
    lock.remove()
  }
}

function search(kit, all, sought) {
  for (const [end, { pid }] of Object.entries(all)) {
    const found = findInMemory(pid, sought[end])
    for (const [form, places] of Object.entries(found)) {
      kit.figure({
        name: `${end} ${form}`,
        what: `${end}: ${form} of its key found after close`,
        value: places.length,
        most: 0,
        ...(places.length > 0 && { seen: [...new Set(places)] }),
      })
    }
  }
}

/** A copy of a key with a passphrase, which is in another file. */
function lockedCopy(key) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'alknet-r21-'))
  const files = { identity: path.join(folder, 'key'), secret: path.join(folder, 'secret') }
  const passphrase = Buffer.from(randomBytes(24).toString('hex'))
  fs.copyFileSync(key, files.identity)
  fs.writeFileSync(files.secret, passphrase)
  const change = ['-q', '-p', '-a', '2', '-P', '', '-N', String(passphrase), '-f', files.identity]
  execFileSync('ssh-keygen', change)
  return { files, passphrase, remove: () => fs.rmSync(folder, { recursive: true }) }
}

export const ends = {
  async server(_, { hostKey, clientPublicKey }) {
    const server = await serve({ listen: '127.0.0.1:0', hostKey, authorizedKeys: clientPublicKey })
    server.onConnection((stream) => echo(stream.on('error', () => {})))
    return {
      ready: { server: server.addresses[0], hostKeys: server.hostKeyFingerprint },
      close: () => server.close(),
    }
  },

  async client(ready, context) {
    return {
      sessions: (count) => sessions(count, () => connect(reach(context, ready))),
    }
  },

  async locked({ ready, identity, secret }) {
    const session = async () => {
      const passphrase = fs.readFileSync(secret)
      const stream = await connect({ ...ready, identity, passphrase })
      // What the caller has is the caller's to wipe.
      passphrase.fill(0)
      return stream
    }
    return { sessions: (count) => sessions(count, session) }
  },
}

async function sessions(count, open) {
  for (let turn = 0; turn < count; turn++) {
    const stream = await open()
    await echoed(stream, Buffer.from('hello'))
    await ended(stream)
  }
}
