// The server killed and started again: the programs, as a user has them.
import { once } from 'node:events'
import net from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { root } from '../../../scripts/support.mjs'
import { startProcess } from '../../lib/processes.mjs'

export const title = 'server killed and started again'
export const runs = {
  full: 'alknet serve killed with SIGKILL and started again on its port after 3 s, five times; alknet connect with -L, -R and SOCKS at it, which are tried from the moment on when it listens',
  quick: 'the same, once',
}
export const limit = { full: 180, quick: 30 }

const OUTAGE = 3_000
/** So long a session has to hold for the next loss to begin the pauses anew (src/client/supervise.rs, SUCCESS). */
const STEADY = 5_500
const program = path.join(root, 'native', 'alknet')

export async function script(kit) {
  const echo = net.createServer((socket) => socket.on('error', () => {}).pipe(socket))
  await once(echo.listen(0, '127.0.0.1'), 'listening')
  const target = `127.0.0.1:${echo.address().port}`
  let server = await serve(kit.context, '127.0.0.1:0')
  const client = await connect(kit.context, server, target)
  const { socks, local, remote } = client.ports
  const ways = {
    '-L': () => says(local),
    '-R': () => says(remote),
    SOCKS: () => says(socks, echo.address().port),
  }
  for (const way of Object.values(ways)) await way()
  const worst = {}
  const times = kit.pick(5, 1)
  for (let turn = 0; turn < times; turn++) {
    await sleep(STEADY)
    await server.stop()
    await sleep(OUTAGE)
    server = await serve(kit.context, server.address)
    const back = performance.now()
    const again = Object.entries(ways).map(async ([name, way]) => {
      await until(way)
      worst[name] = Math.max(worst[name] ?? 0, (performance.now() - back) / 1000)
    })
    await Promise.all(again)
  }
  report(kit, worst, client.events(), times)
  await client.stop()
  await server.stop()
  echo.close()
}

function report(kit, worst, events, times) {
  for (const [way, seconds] of Object.entries(worst)) {
    const what = `${way} works again after the port is back, worst of ${times}`
    kit.figure({ name: way, what, value: seconds, unit: 's', most: 5 })
  }
  for (const name of ['down', 'up']) {
    // The first 'up' is that of the first session.
    const count = events.filter((event) => event === name).length - (name === 'up' ? 1 : 0)
    const what = `'${name}' events more or fewer than one for each restart`
    kit.figure({ name, what, value: Math.abs(count - times), most: 0 })
  }
}

async function serve({ hostKey, clientPublicKey }, listen) {
  const keys = ['--key', hostKey, '--authorized-keys', clientPublicKey]
  const words = ['serve', ...keys, '--listen', listen, '--allow-remote-forward', '--json']
  const server = await startProcess(program, words, { ready: event('listening') })
  const { addresses, hostKeyFingerprint } = server.ready
  return { ...server, address: addresses[0], fingerprint: hostKeyFingerprint }
}

async function connect({ clientKey }, { address, fingerprint }, target) {
  const events = []
  const told = []
  const ready = (line) => {
    if (!line.startsWith('{')) return false // its log
    const { event, ...rest } = JSON.parse(line)
    events.push(event)
    if (event === 'listening') told.push(rest)
    return event === 'ready'
  }
  const reach = [address, '-i', clientKey, '--host-key', fingerprint, '-D', '127.0.0.1:0']
  const forwards = ['-L', `127.0.0.1:0:${target}`, '-R', `0:${target}`, '--json']
  const client = await startProcess(program, ['connect', ...reach, ...forwards], { ready })
  const [socks, local, remote] = told.map(({ port, addresses }) => port ?? portOf(addresses[0]))
  return { ...client, ports: { socks, local, remote }, events: () => events }
}

const portOf = (address) => Number(address.split(':').at(-1))
const event = (name) => (line) => {
  const told = line.startsWith('{') && JSON.parse(line)
  return told?.event === name ? told : undefined
}

/** A word there and back, through SOCKS when `far` says where to. */
async function says(port, far) {
  const socket = net.connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    if (far !== undefined) {
      await answer(socket, Buffer.from([5, 1, 0]), 2)
      const place = [5, 1, 0, 1, 127, 0, 0, 1, far >> 8, far & 255]
      const [, reply] = await answer(socket, Buffer.from(place), 10)
      if (reply !== 0) throw new Error(`SOCKS answered ${reply}`)
    }
    await answer(socket, Buffer.from('hello'), 5)
  } finally {
    socket.destroy()
  }
}

function answer(socket, question, length) {
  return new Promise((resolve, reject) => {
    let come = Buffer.alloc(0)
    const onData = (chunk) => {
      come = Buffer.concat([come, chunk])
      if (come.length < length) return
      socket.off('data', onData)
      resolve(come)
    }
    socket
      .on('data', onData)
      .on('error', reject)
      .on('close', () => reject(new Error('closed')))
    socket.write(question)
  })
}

async function until(attempt) {
  for (;;) {
    try {
      return await attempt()
    } catch {
      await sleep(10)
    }
  }
}
