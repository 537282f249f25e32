// Closing while much is open: how long it takes, and whether the port is free then.
import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { echo, echoed, session, startServer } from '../lib/ends.mjs'

export const title = 'close() with much open'
export const runs = {
  full: '1,000 streams on one session: idle, sending at full rate both ways, not read by anybody, and with the client stopped (SIGSTOP); the server and, in the first three, the session closed',
  quick:
    '1,000 streams on one session: idle, sending at full rate both ways, not read by anybody, and with the client stopped (SIGSTOP); the server closed',
}
export const limit = { full: 120, quick: 60 }

const STREAMS = 1_000

export async function script(kit) {
  for (const load of ['idle', 'busy', 'unread', 'stopped']) {
    await closing(kit, load, 'server')
    if (!kit.quick && load !== 'stopped') await closing(kit, load, 'client')
  }
}

async function closing(kit, load, closes) {
  const server = await kit.start('server', { load })
  const client = await kit.start('client', { ready: server.ready, load })
  await client.call('open', STREAMS)
  await sleep(500) // until the load is one
  if (load === 'stopped') client.child.kill('SIGSTOP')
  const { took, free } = await { server, client }[closes].call('close')
  const what = `${{ server: 'server', client: 'session' }[closes]}.close(), ${words[load]}`
  kit.figure({ name: `${closes} ${load}`, what, value: took, unit: 'ms', most: 2000 })
  if (closes === 'server')
    kit.figure({
      name: `port ${load}`,
      what: `${what}: port free at once`,
      value: Number(free),
      least: 1,
    })
  // What was not read stays readable.
  if (load === 'idle' || load === 'busy') {
    const other = { server: client, client: server }[closes]
    const left = await other.call('left')
    kit.figure({
      name: `${closes} ${load} left`,
      what: `${what}: streams left at the other end 2 s later`,
      value: left,
      most: 0,
    })
  }
  client.child.kill('SIGCONT')
  await client.stop()
  await server.stop()
}

const words = {
  idle: 'idle streams',
  busy: 'streams at full rate both ways',
  unread: 'streams that nobody reads',
  stopped: 'client stopped',
}

const BLOCK = Buffer.alloc(32 * 1024)
const fill = (stream) => {
  while (stream.write(BLOCK)) if (stream.destroyed) return
}
const loads = {
  idle: { client: () => {} },
  stopped: { client: () => {} },
  busy: { server: rush, client: rush },
  unread: { server: fill, client: fill },
}

function rush(stream) {
  stream.resume().on('drain', () => fill(stream))
  fill(stream)
}

function keep() {
  const open = new Set()
  return {
    open,
    add(stream) {
      open.add(stream)
      stream.on('error', () => {}).once('close', () => open.delete(stream))
    },
    async left() {
      for (let turn = 0; turn < 100 && open.size > 0; turn++) await sleep(20)
      return open.size
    },
  }
}

export const ends = {
  async server({ load }, context) {
    const { add, left } = keep()
    const { server, ready } = await startServer(context, (stream) => {
      add(stream)
      // Not before the client begins, too.
      if (load === 'busy' || load === 'unread')
        stream.once('readable', () => loads[load].server(stream))
      else echo(stream)
    })
    return {
      ready,
      left,
      async close() {
        const started = performance.now()
        await server.close()
        const took = performance.now() - started
        return { took, free: await canListen(ready.server) }
      },
    }
  },

  async client({ ready, load }, context) {
    const one = await session(context, ready)
    const { open, add, left } = keep()
    return {
      left,
      async open(count) {
        for (let turn = 0; turn < count; turn++) {
          const stream = await one.open()
          add(stream)
          if (load === 'idle' || load === 'stopped') await echoed(stream, Buffer.from('x'))
        }
        // Not before all are open: an open waits for its answer behind all that is sent.
        for (const stream of open) loads[load].client(stream)
      },
      async close() {
        const started = performance.now()
        await one.close()
        return { took: performance.now() - started }
      },
    }
  },
}

async function canListen(address) {
  const [host, port] = address.split(':')
  const listener = net.createServer().listen(Number(port), host)
  try {
    await once(listener, 'listening')
    listener.close()
    return true
  } catch {
    return false
  }
}
