// Without descriptors, memory or disk: a server neither spins nor dies, and serves again when there is room.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { connect } from '../../../index.js'
import { echo, echoed, reach, session, startServer, unlimited } from '../lib/ends.mjs'
import { MB } from '../lib/look.mjs'

export const title = 'out of resources'
export const runs = {
  full: 'prlimit: 64 descriptors and 150 sockets; a memory cgroup of 200 MB, 3,000 sockets that drip from 5 sources and 16 streams that nobody reads; a log file on a full disk',
  quick:
    'prlimit: 64 descriptors and 150 sockets; a memory cgroup of 200 MB, 500 sockets that drip from 5 sources and 16 streams that nobody reads; a log file on a full disk',
}
export const limit = { full: 90, quick: 60 }

const MEMORY = 200 * MB

export async function script(kit) {
  await descriptors(kit)
  if (process.getuid() !== 0) throw new Error('a cgroup and a full disk take root')
  await memory(kit)
  await disk(kit)
}

async function descriptors(kit) {
  const server = await kit.start('server', { limits: unlimited })
  const client = await kit.start('client', server.ready)
  await client.call('talk')
  const { fds } = await server.probe()
  execFileSync('prlimit', ['--pid', String(server.pid), `--nofile=${fds + 16}:${fds + 16}`])
  await client.call('sockets', 150, 1)
  await sleep(500) // until each is accepted, closed, or waits
  const load = await cpuShare(server.pid, 2_000)
  kit.figure({
    name: 'fds cpu',
    what: 'no descriptor left: processor time',
    value: load,
    unit: '%',
    most: 5,
  })
  await client.call('leave')
  kit.figure({
    name: 'fds after',
    what: 'descriptors again: streams served of 10',
    value: await client.call('served', 10),
    least: 10,
  })
  await client.stop()
  await server.stop()
}

async function memory(kit) {
  const count = kit.pick(3_000, 500)
  const server = await kit.start('server', { limits: {} })
  const client = await kit.start('client', server.ready)
  const group = memoryGroup(server.pid)
  try {
    await client.call('unread', 16)
    await client.call('sockets', count, 5)
    const during = await client.call('served', 10)
    kit.figure({
      name: 'memory during',
      what: 'little memory: good streams served of 10',
      value: during,
      least: 10,
    })
    await client.call('leave')
    kit.figure({ name: 'memory peak', what: 'little memory: most of it', ...group.peak() })
    kit.figure({
      name: 'killed',
      what: 'little memory: killed for it',
      value: group.kills(),
      most: 0,
    })
    await client.stop()
  } finally {
    await server.stop()
    group.remove()
  }
}

async function disk(kit) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'alknet-full-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder])
  const log = path.join(folder, 'log')
  let program
  try {
    fs.writeFileSync(path.join(folder, 'rest'), Buffer.alloc(56 * 1024))
    program = await startProgram(kit.context, log)
    const at = { server: program.at, hostKeys: program.hostKeys, user: 'me' }
    const target = await echoServer()
    const talk = async () => {
      const stream = await connect({ ...reach(kit.context, at), target })
      await echoed(stream, Buffer.from('here'))
      stream.on('error', () => {}).destroy()
    }
    for (let turn = 0; turn < 100; turn++) await talk()
    kit.figure({
      name: 'disk cpu',
      what: 'log on a full disk: processor time afterwards',
      value: await cpuShare(program.child.pid, 1_000),
      unit: '%',
      most: 5,
    })
    fs.rmSync(path.join(folder, 'rest'))
    const before = fs.statSync(log).size
    await talk()
    const written = async () => {
      for (let turn = 0; turn < 100 && fs.statSync(log).size === before; turn++) await sleep(20)
      return fs.statSync(log).size - before
    }
    kit.figure({
      name: 'disk after',
      what: 'room again: bytes logged of the next connection',
      value: await written(),
      least: 1,
    })
  } finally {
    program?.child.kill('SIGKILL')
    if (program) await program.exit
    execFileSync('umount', [folder])
    fs.rmdirSync(folder)
  }
}

/** Puts a process under a limit of memory. */
function memoryGroup(pid) {
  const second = fs.existsSync('/sys/fs/cgroup/cgroup.controllers')
  const names = second
    ? { root: '/sys/fs/cgroup', max: 'memory.max', peak: 'memory.peak', events: 'memory.events' }
    : {
        root: '/sys/fs/cgroup/memory',
        max: 'memory.limit_in_bytes',
        peak: 'memory.max_usage_in_bytes',
        events: 'memory.oom_control',
      }
  const folder = path.join(names.root, `alknet-${pid}`)
  fs.mkdirSync(folder)
  fs.writeFileSync(path.join(folder, names.max), String(MEMORY))
  fs.writeFileSync(path.join(folder, 'cgroup.procs'), String(pid))
  const read = (name) => fs.readFileSync(path.join(folder, name), 'utf8')
  return {
    peak: () => ({ value: Number(read(names.peak)) / MB, unit: 'MB', most: MEMORY / MB }),
    kills: () => Number(/oom_kill (\d+)/.exec(read(names.events))?.[1] ?? 0),
    remove: () => fs.rmdirSync(folder),
  }
}

/** Share of one processor that a process takes for a while. */
async function cpuShare(pid, ms) {
  const ticks = () => {
    const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
    return Number(fields[11]) + Number(fields[12])
  }
  const before = ticks()
  await sleep(ms)
  return (100 * (ticks() - before) * 10) / ms
}

const binary = fileURLToPath(new URL('../../../native/alknet', import.meta.url))

async function startProgram({ hostKey, clientPublicKey }, log) {
  const args = ['serve', '--listen', '127.0.0.1:0', '--key', hostKey, '--json', '-v']
  args.push('--authorized-keys', clientPublicKey, '--log-file', log)
  const child = spawn(binary, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const exit = once(child, 'exit')
  for await (const line of createInterface({ input: child.stdout })) {
    const { event, addresses, hostKeyFingerprint } = JSON.parse(line)
    if (event === 'listening')
      return { child, exit, at: addresses[0], hostKeys: hostKeyFingerprint }
  }
  throw new Error('the program ended')
}

async function echoServer() {
  const server = net.createServer((socket) => socket.on('error', () => {}).pipe(socket))
  server.listen(0, '127.0.0.1').unref()
  await once(server, 'listening')
  return `127.0.0.1:${server.address().port}`
}

export const ends = {
  async server(options, context) {
    return await startServer(
      context,
      (stream) => stream.once('data', (first) => take(stream, first)),
      options,
    )
  },

  async client(ready, context) {
    const sockets = []
    const talk = async () => {
      const stream = await connect(reach(context, ready))
      await echoed(stream, Buffer.from('here'))
      stream.on('error', () => {}).destroy()
    }
    const [host, port] = ready.server.split(':')
    return {
      talk,
      async served(count) {
        let served = 0
        for (let turn = 0; turn < count; turn++) {
          await talk().then(
            () => {
              served += 1
            },
            () => {},
          )
        }
        return served
      },
      /** Opens `count` sockets from `sources` addresses, each of which says a word in a while. */
      async sockets(count, sources) {
        for (let turn = 0; turn < count; turn++) {
          const localAddress = `127.0.1.${1 + (turn % sources)}`
          const socket = net.connect({ host, port: Number(port), localAddress })
          const drip = setInterval(() => socket.write('S'), 500)
          socket.on('error', () => {}).on('close', () => clearInterval(drip))
          sockets.push(socket.resume())
          if (turn % 100 === 99) await sleep(10)
        }
      },
      async leave() {
        for (const socket of sockets.splice(0)) socket.destroy()
        await sleep(200)
      },
      async unread(count) {
        const one = await session(context, ready)
        for (let turn = 0; turn < count; turn++) {
          const stream = await one.open()
          stream.on('error', () => {}).write('unread')
          while (stream.write(Buffer.alloc(64 * 1024))) if (stream.destroyed) break
          const timer = setInterval(
            () => stream.writableNeedDrain || stream.write(Buffer.alloc(64 * 1024)),
            1,
          )
          stream.once('close', () => clearInterval(timer))
        }
        await sleep(1_000) // until all that may be sent is
      },
    }
  },
}

/** Gives back what comes; of a stream that begins so, reads nothing more and sends all it can. */
function take(stream, first) {
  if (!String(first).startsWith('unread')) {
    stream.write(first)
    return echo(stream)
  }
  stream.pause()
  const fill = () => {
    while (!stream.destroyed && stream.write(Buffer.alloc(64 * 1024)));
  }
  stream.on('drain', fill)
  fill()
}
