// Two ends of a session with a link between them that can fail, each end in a process of its own. Times are those of the wall clock,
// which all processes share.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { startLink } from '../../../__test__/support/link.mjs'
import { echo, echoed, session, startServer } from './ends.mjs'
import { Random } from './random.mjs'

const BLOCK = Buffer.alloc(64 * 1024, 7)

/** What a server does with a stream. */
const modes = {
  echo,
  sink: (stream) => stream.resume().on('end', () => stream.end()),
  source: (stream) => flood(stream.resume()),
}

/** Starts server, link and client; `options` go to both ends, `link` to the link. */
export async function overLink(kit, { mode = 'echo', link: settings = {}, ...options } = {}) {
  const server = await kit.start('server', { mode, options })
  const link = await startLink(server.ready.server, settings)
  const ready = { ...server.ready, server: link.server }
  const client = await kit.start('client', { ready, options })
  const stop = async () => {
    await client.stop()
    await server.stop()
    await link.close()
  }
  return { server, link, client, stop }
}

/** The ends that a script of these exports. */
export const ends = {
  async server({ mode, options }, context) {
    const open = watched()
    const { ready } = await startServer(
      context,
      (stream) => {
        open.add(stream)
        modes[mode](stream)
      },
      { ...options, forwarding: { remote: true } },
    )
    return { ready, lostAt: open.lostAt, open: () => open.size() }
  },

  async client({ ready, options }, context) {
    const started = Date.now()
    const one = await session(context, ready, { ...options, reconnect: { wait: 300_000 } })
    const connected = Date.now() - started
    const events = { down: 0, up: 0 }
    for (const name of ['down', 'up'])
      one.on(name, () => {
        events[name] += 1
      })
    const open = watched()
    const stream = async () => {
      const stream = await one.open()
      open.add(stream.on('error', () => {}))
      return stream
    }
    return {
      ready: { connected },
      lostAt: open.lostAt,
      events: () => events,
      async open(count) {
        for (let at = 0; at < count; at++) await echoed(await stream(), Buffer.from('here'))
      },
      async flood(count) {
        for (let at = 0; at < count; at++) flood((await stream()).resume())
      },
      /** When a new stream has answered. */
      async works() {
        await echoed(await one.open(), Buffer.from('again'))
        return Date.now()
      },
      /** Port of a remote forward to an echo server here. */
      async listen() {
        const target = net.createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1')
        await once(target, 'listening')
        const { port } = target.address()
        const forward = await one.remoteForward({
          listen: '127.0.0.1:0',
          target: `127.0.0.1:${port}`,
        })
        return forward.port
      },
      rate: async (ms) => rate(await stream(), ms),
      transfer: async (bytes, seed) => transfer(await stream(), bytes, seed),
    }
  },
}

/** Streams, and when the last of them was lost. */
function watched() {
  const streams = new Set()
  let last
  return {
    size: () => streams.size,
    add(stream) {
      streams.add(stream)
      stream.on('close', () => {
        streams.delete(stream)
        last = Date.now()
      })
    },
    async lostAt() {
      while (streams.size > 0) await sleep(10)
      return last
    },
  }
}

async function flood(stream) {
  stream.on('error', () => {})
  while (!stream.destroyed) {
    if (stream.write(BLOCK)) continue
    await new Promise((resolve) => {
      const done = () => {
        stream.off('drain', done).off('close', done)
        resolve()
      }
      stream.on('drain', done).on('close', done)
    })
  }
}

/** Bytes per second that come, after a quarter of the time. */
async function rate(stream, ms) {
  let bytes = 0
  stream.on('data', (chunk) => {
    bytes += chunk.length
  })
  await sleep(ms / 4)
  const before = bytes
  await sleep(ms)
  stream.destroy()
  return ((bytes - before) / ms) * 1000
}

/** Sends bytes through an echo and resolves to whether the same have come back, to the end. */
async function transfer(stream, bytes, seed) {
  const pool = new Random(seed).bytes(2 ** 20)
  const [sent, come] = [createHash('sha256'), createHash('sha256')]
  let left = bytes
  const ended = once(
    stream.on('data', (chunk) => come.update(chunk)),
    'end',
  )
  while (left > 0) {
    const piece = pool.subarray(0, Math.min(left, pool.length))
    sent.update(piece)
    left -= piece.length
    if (!stream.write(piece)) await once(stream, 'drain')
  }
  stream.end()
  await ended
  return sent.digest('hex') === come.digest('hex')
}
