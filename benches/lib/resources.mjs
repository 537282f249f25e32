// What the peers need besides code: keys, a certificate, a Redis. All of it is made here, in a directory of its own, and goes away.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { ensurePeers } from '../../scripts/peers.mjs'
import { findProgram, root } from '../../scripts/support.mjs'
import { KEPT, startNats } from './nats.mjs'
import { ensureBore, ensureDumbpipe, ensureLoad } from './programs.mjs'
import { startRedis } from './redis.mjs'

const makers = {
  'ssh keys': makeKeys,
  certificate: makeCertificate,
  'redis-server': makeRedis,
  'ssh2 native crypto': checkSsh2,
  'alknet build': checkAlknet,
  'alknet bus': startBus,
  'nats-server': makeNats,
  'alknet buses': startBuses,
  'ws hub': startWsHub,
  program: checkProgram,
  load: async () => ({ load: await ensureLoad() }),
  bore: async () => ({ bore: await ensureBore() }),
  dumbpipe: async () => ({ dumbpipe: await ensureDumbpipe() }),
  socat: async () => ({ socat: await ensureProgram('socat') }),
  wrk: async () => ({ wrk: await ensureProgram('wrk') }),
  OpenSSH: async () => {
    for (const name of ['ssh', 'sshd']) await ensureProgram(name)
    return {}
  },
}

/**
 * Makes what is named in `needs`. Resolves to the context that peers get, what is missing and why, and `release()`.
 */
export async function makeResources(needs) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'alknet-bench-'))
  const context = {}
  const missing = {}
  const releases = [() => fs.rmSync(directory, { recursive: true, force: true })]
  for (const need of new Set(needs)) {
    try {
      const { release, ...made } = await makers[need](directory, context)
      Object.assign(context, made)
      if (release) releases.unshift(release)
    } catch (error) {
      missing[need] = error.message
    }
  }
  const release = () => {
    for (const undo of releases.splice(0)) undo()
  }
  process.once('exit', release) // whatever happens
  return { context, missing, release }
}

function makeKeys(directory) {
  const keygen = programPath('ssh-keygen')
  const [hostKey, clientKey] = ['host_key', 'client_key'].map((name) => {
    const file = path.join(directory, name)
    execFileSync(keygen, ['-q', '-t', 'ed25519', '-N', '', '-C', 'bench', '-f', file])
    return file
  })
  const publicKeys = { hostPublicKey: `${hostKey}.pub`, clientPublicKey: `${clientKey}.pub` }
  return { hostKey, clientKey, ...publicKeys }
}

function makeCertificate(directory) {
  const certificate = path.join(directory, 'cert.pem')
  const certificateKey = path.join(directory, 'key.pem')
  const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']
  // Else it is an authority's, which no server may show.
  names.push('-addext', 'basicConstraints=critical,CA:FALSE')
  const files = ['-keyout', certificateKey, '-out', certificate]
  const args = ['req', ...kind, '-days', '2', ...names, ...files]
  execFileSync(programPath('openssl'), args, { stdio: 'ignore' })
  return { certificate, certificateKey }
}

async function makeRedis(directory) {
  const { port, pid, stop } = await startRedis(programPath('redis-server'), directory)
  return { redis: { port, pid }, release: stop }
}

function checkSsh2() {
  const { bindingAvailable } = createRequire(import.meta.url)('ssh2/lib/protocol/crypto.js')
  if (!bindingAvailable) throw new Error('ssh2 has no native crypto: it was not compiled')
  return {}
}

function checkAlknet() {
  for (const file of ['dist/index.js', 'native/binding.d.ts']) {
    if (!fs.existsSync(path.join(root, file))) throw new Error(`alknet is not built: no ${file}`)
  }
  return {}
}

function checkProgram() {
  const file = path.join(root, 'native', 'alknet')
  if (!fs.existsSync(file))
    throw new Error('the program alknet is not built: node scripts/build.mjs')
  return {}
}

/** The program's path; apt installs it where it may. */
async function ensureProgram(name) {
  if (!findProgram(name)) await ensurePeers({ programs: [name] })
  return programPath(name)
}

async function makeNats(directory) {
  const { stop: release, ...nats } = await startNats(programPath('nats-server'), directory)
  return { nats, release }
}

/** Two, on one NATS, which must have been made before. */
async function startBuses(directory, { nats }) {
  if (nats === undefined) throw new Error('there is no NATS')
  const all = await Promise.all([0, 1].map(() => startBus(directory, {}, nats.url)))
  const release = () => {
    for (const { release: stop } of all) stop()
  }
  return { buses: all.map(({ bus }) => bus), release }
}

async function startBus(directory, _context, nats = 'local') {
  const key = (name) => path.join(directory, name)
  const words = [
    'serve',
    '--bus',
    nats,
    '--key',
    key('host_key'),
    '--authorized-keys',
    key('client_key.pub'),
  ]
  if (nats !== 'local') words.push('--bus-durable', KEPT)
  const where = ['--listen', '127.0.0.1:0', '--json', '--quiet']
  const { line, pid, stop } = await startHub([path.join(root, 'bin/alknet.js'), ...words, ...where])
  const { connectionString } = JSON.parse(line)
  return { bus: { connectionString, pid }, release: stop }
}

async function startWsHub() {
  const hub = path.join(root, 'benches/lib/ws-hub.mjs')
  const { line, pid, stop } = await startHub([hub])
  return { wsHub: { port: Number(line), pid }, release: stop }
}

/** Starts a Node program that says its address in its first line. */
async function startHub(args) {
  const env = { ...process.env, NODE_ENV: 'production' }
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const stop = () => child.kill('SIGKILL')
  const lines = createInterface({ input: child.stdout })
  const gone = () => Promise.reject(new Error('a hub did not start'))
  const [line] = await Promise.race([once(lines, 'line'), once(child, 'exit').then(gone)])
  return { line, pid: child.pid, stop }
}

function programPath(name) {
  const found = findProgram(name)
  if (!found) throw new Error(`${name} is not installed`)
  return found
}
