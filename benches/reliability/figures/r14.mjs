// A stream that nobody reads: what its neighbours on the session notice, and what it holds.
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { median } from '../../lib/stats.mjs'
import { session, startServer } from '../lib/ends.mjs'

export const title = 'a stream that nobody reads'
const what = (rounds) =>
  `one of 2 and one of 200 streams is not read, at the client and at the server; ${rounds} rounds, each with it and without it in turn`
export const runs = { full: what(5), quick: what(3) }
export const limit = { full: 240, quick: 60 }

const STALLS = { client: 'flood', server: 'deaf' }
/** For memory: so many unread streams at once. */
const MANY = 16

export async function script(kit) {
  const settings = kit.pick({ rounds: 5, ms: 2000 }, { rounds: 3, ms: 200 })
  const pair = async () => {
    const server = await kit.start('server')
    return [server, await kit.start('client', server.ready)]
  }
  for (const count of [2, 200]) {
    const [server, client] = await pair()
    await client.call('start', count - 1)
    for (const [side, kind] of Object.entries(STALLS)) {
      await neighbours(kit, { server, client, side, kind, count, ...settings })
    }
    await client.stop()
    await server.stop()
  }
  await memory(kit, pair)
}

async function neighbours(kit, { server, client, side, kind, count, rounds, ms }) {
  const ratios = { rate: [], p50: [] }
  const opens = []
  const measure = async () => {
    await server.call('flow', true)
    const rate = await client.call('rate', ms)
    await server.call('flow', false)
    return { rate, p50: await client.call('ping', Math.min(ms, 500)) }
  }
  await measure() // to warm up
  // Without, with, without: what the machine does meanwhile falls on both.
  let before = await measure()
  for (let round = 0; round < rounds; round++) {
    await client.call('stall', kind, 1)
    opens.push(await client.call('open'))
    const stalled = await measure()
    await client.call('unstall')
    const after = await measure()
    for (const [value, all] of Object.entries(ratios)) {
      all.push((2 * stalled[value]) / (before[value] + after[value]))
    }
    before = after
  }
  const ratio = (value) => median(ratios[value])
  const where = `unread at the ${side}, one of ${count}`
  const name = (text) => `${side} ${count} ${text}`
  kit.figure({
    name: name('p50'),
    what: `${where}: round trip of a neighbour, p50`,
    value: ratio('p50'),
    unit: '×',
    most: 3,
  })
  kit.figure({
    name: name('rate'),
    what: `${where}: throughput of its neighbours`,
    value: ratio('rate'),
    unit: '×',
    least: 0.8,
  })
  kit.figure({
    name: name('open'),
    what: `${where}: a new stream, open and echo`,
    value: Math.max(...opens),
    unit: 'ms',
    most: 1000,
  })
}

async function memory(kit, pair) {
  for (const [side, kind] of Object.entries(STALLS)) {
    const [server, client] = await pair()
    await client.call('start', 0)
    const without = { client: await client.probe(), server: await server.probe() }
    await client.call('stall', kind, MANY)
    const held = { client: await client.probe(), server: await server.probe() }
    await client.stop()
    await server.stop()
    for (const end of ['client', 'server']) {
      const reads = end === side
      kit.figure({
        name: `${side} held by ${end}`,
        what: `unread at the ${side}: held by the ${reads ? 'reader' : 'sender'}, per stream`,
        value: (held[end].rss - without[end].rss) / MANY / 2 ** 20,
        unit: 'MiB',
        // A window of 4 MiB; at the sender 1 MiB in the core and what its program has written beyond. And a little for V8.
        most: reads ? 4.5 : 2,
      })
    }
  }
}

const BLOCK = Buffer.alloc(64 * 1024, 7)

export const ends = {
  async server(_, context) {
    let flowing = false
    const wake = []
    const kinds = {
      echo: (stream) => stream.on('data', (chunk) => stream.write(chunk)),
      deaf: () => {},
      flood: (stream) => pump(stream, () => undefined),
      source: (stream) => {
        stream.resume()
        pump(stream, () => (flowing ? undefined : new Promise((resolve) => wake.push(resolve))))
      },
    }
    const { ready } = await startServer(context, (stream) => {
      stream.once('readable', () => {
        const kind = String(stream.read(8)).trim()
        stream.write('!') // the client waits for it
        kinds[kind](stream)
      })
    })
    return {
      ready,
      flow(on) {
        flowing = on
        if (on) for (const resolve of wake.splice(0)) resolve()
      },
    }
  },

  async client(ready, context) {
    const one = await session(context, ready)
    const open = async (kind) => {
      const stream = await one.open()
      stream.on('error', () => {}).write(kind.padEnd(8))
      await once(stream, 'readable')
      stream.read(1)
      return stream
    }
    let bytes = 0
    let ping
    const stalled = []
    return {
      async start(sources) {
        ping = await open('echo')
        for (let at = 0; at < sources; at++) {
          const stream = await open('source')
          stream.on('data', (chunk) => {
            bytes += chunk.length
          })
        }
      },
      async rate(ms) {
        await sleep(ms / 4)
        const before = bytes
        const started = performance.now()
        await sleep(ms)
        return (bytes - before) / (performance.now() - started)
      },
      async ping(ms) {
        await quiet(() => bytes)
        return await roundTrips(ping, ms)
      },
      async stall(kind, count) {
        for (let at = 0; at < count; at++) {
          const stream = await open(kind)
          stalled.push(stream)
          if (kind === 'deaf') pump(stream, () => undefined)
        }
        await sleep(150 + 25 * count) // until nothing moves any more
      },
      async unstall() {
        for (const stream of stalled.splice(0)) {
          stream.destroy()
          if (!stream.closed) await once(stream, 'close')
        }
      },
      async open() {
        const started = performance.now()
        const stream = await open('echo')
        const took = performance.now() - started
        stream.destroy()
        return took
      },
    }
  },
}

/** Writes for as long as the stream takes it, waiting for `gate` before each write. */
async function pump(stream, gate) {
  while (!stream.destroyed) {
    await gate()
    if (!stream.write(BLOCK)) await room(stream)
  }
}

const room = (stream) =>
  new Promise((resolve) => {
    const done = () => {
      stream.off('drain', done).off('close', done)
      resolve()
    }
    stream.on('drain', done).on('close', done)
  })

async function quiet(count) {
  for (let before = -1; before !== count(); ) {
    before = count()
    await sleep(20)
  }
}

/** Median time in ms of round trips of 64 bytes. */
async function roundTrips(stream, ms) {
  const times = []
  const message = Buffer.alloc(64, 1)
  const deadline = performance.now() + ms
  while (performance.now() < deadline) {
    const started = performance.now()
    stream.write(message)
    for (let left = message.length; left > 0; ) {
      if (stream.readableLength === 0) await once(stream, 'readable')
      const chunk = stream.read()
      left -= chunk?.length ?? 0
    }
    times.push(performance.now() - started)
  }
  return median(times)
}
