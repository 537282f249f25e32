// Shows for real, in two processes, what alknet does: bytes both ways, events both ways, strangers kept out.
//
//   npm run demo [-- --release]
import { fork } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { eventsEachWay } from '../examples/demo/parcel.mjs'
import { makeKeyPair } from '../examples/support/key-pair.mjs'
import { build } from './build.mjs'
import { env, Failure, program, root, track } from './support.mjs'

const demo = path.join(root, 'examples', 'demo')
const limit = 120_000

async function main(args) {
  const release = args.includes('--release')
  await build({ release })
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'alknet-demo-'))
  const processes = []
  try {
    return report(await play(directory, processes), release)
  } finally {
    for (const process of processes) process.kill()
    fs.rmSync(directory, { recursive: true, force: true })
  }
}

async function play(directory, processes) {
  const make = (name) => {
    const pair = makeKeyPair(name)
    const file = path.join(directory, name)
    fs.writeFileSync(file, pair.privateKey, { mode: 0o600 })
    return { file, ...pair }
  }
  const [client, stranger, otherHost] = ['client', 'stranger', 'other-host'].map(make)
  const authorizedKeys = path.join(directory, 'authorized_keys')
  fs.writeFileSync(authorizedKeys, client.publicKey)

  const start = (name, args) => processes[processes.push(new Process(name, args)) - 1]
  const server = start('server', [authorizedKeys])
  const listening = await server.told('listening')
  const { connectionString, address } = listening
  const keyFiles = [client.file, stranger.file]
  const visitor = start('client', [connectionString, address, ...keyFiles, otherHost.publicKey])
  const both = (what) => Promise.all([server.told(what), visitor.told(what)])
  const bytes = await both('bytes')
  const events = await both('events')
  const refusals = await visitor.told('refusals')
  await visitor.over
  server.dismiss()
  await server.over
  return { server, visitor, listening, bytes, events, refusals }
}

/** One of the two Node processes: tells by messages what it saw; fails when it ends badly or hangs. */
class Process {
  #told = new Map()
  #early
  #child

  constructor(name, args) {
    this.#child = track(
      fork(path.join(demo, `${name}.mjs`), args, { cwd: root, env, timeout: limit }),
    )
    this.#child.on('message', ({ what, ...detail }) => this.#wait(what).resolve(detail))
    this.over = new Promise((resolve, reject) => {
      this.#child.on('error', reject)
      this.#child.on('close', (code, signal) => {
        this.#early = new Failure(`the ${name} ended early (${signal ?? `exit code ${code}`})`)
        for (const { reject } of this.#told.values()) reject(this.#early)
        if (code === 0) resolve()
        else reject(this.#early)
      })
    })
    this.over.catch(() => {})
  }

  get pid() {
    return this.#child.pid
  }

  told(what) {
    return this.#wait(what).promise
  }

  dismiss() {
    this.#child.send('dismissed')
  }

  kill() {
    this.#child.kill()
  }

  #wait(what) {
    // Whoever comes first, the message or the one who waits for it.
    if (!this.#told.has(what)) {
      const wait = {}
      wait.promise = new Promise((resolve, reject) => Object.assign(wait, { resolve, reject }))
      wait.promise.catch(() => {})
      if (this.#early) wait.reject(this.#early)
      this.#told.set(what, wait)
    }
    return this.#told.get(what)
  }
}

function report({ server, visitor, listening, bytes, events, refusals }, release) {
  const [up, down] = bytes.map(({ received }) => received)
  const [ticksUp, ticksDown] = events.map(({ received }) => received)
  const { times } = events[1]
  const faults = [
    up.sha256 === bytes[1].sent || 'the server got other bytes than the client sent',
    down.sha256 === bytes[0].sent || 'the client got other bytes than the server sent',
    intact(ticksUp) || `the server got ${ticksUp.count} events, not all or not in order`,
    intact(ticksDown) || `the client got ${ticksDown.count} events, not all or not in order`,
    refusals.wrongHostKey === 'ERR_ALKNET_HOST_KEY_CHANGED' || 'a wrong host key was not refused',
    refusals.stranger === 'ERR_ALKNET_AUTH_REJECTED' || 'a stranger was not refused',
  ].filter((fault) => fault !== true)
  const at = (share) => `${times[Math.floor(times.length * share)].toFixed(2)} ms`

  print(`
alknet demo: two processes on this machine, SSH over TCP between them

  server      pid ${server.pid}, listens on ${listening.address}
  host key    ${listening.fingerprint}
  client      pid ${visitor.pid}, logged in as '${bytes[0].user}' with
              ${bytes[0].key}
`)
  row('', 'client → server', 'server → client', '')
  row(`${up.size / 2 ** 20} MiB of bytes`, rate(up), rate(down), 'SHA-256 equal')
  row(`${grouped(ticksUp.count)} events`, pace(ticksUp), pace(ticksDown), 'all, in order')
  row(`${grouped(times.length)} round trips`, `${at(0.5)} median`, `${at(0.99)} at 99 %`, '')
  print(`
  A client that expects another host key    ${refusals.wrongHostKey}
  A client whose key nobody authorised      ${refusals.stranger}
`)
  for (const fault of faults) print(`MISMATCH: ${fault}`)
  if (faults.length > 0) return 1
  print('Everything arrived as it was sent; who should be refused was refused.')
  if (!release) print('This is the test build, hardly optimised. Fast: npm run demo -- --release')
  return 0
}

const print = (text) => process.stdout.write(`${text}\n`)
const row = (name, up, down, note) =>
  print(`  ${name.padEnd(18)}${up.padStart(17)}${down.padStart(19)}   ${note}`.trimEnd())
const rate = ({ size, ms }) => `${(size / 1000 / ms).toFixed(0)} MB/s`
const pace = ({ count, ms }) => `${grouped(Math.round(count / (ms / 1000)))} /s`
const grouped = (number) => number.toLocaleString('en-US')
const intact = ({ count, inOrder }) => inOrder && count === eventsEachWay

await program(import.meta.url, main)
