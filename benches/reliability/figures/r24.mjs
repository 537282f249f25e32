// Everybody at once: with room for all, and from one source that gets no room.

import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '../../../index.js'
import { percentile } from '../../lib/stats.mjs'
import { echo, echoed, reach, startServer } from '../lib/ends.mjs'

export const title = 'connect storm'
export const runs = {
  full: '2,000 sessions at once from one process, limits off; then the default limits, 2,000 silent sockets from 127.0.0.2 and 20 sessions from 127.0.0.1 meanwhile',
  quick:
    '500 sessions at once from one process, limits off; then the default limits, 500 silent sockets from 127.0.0.2 and 20 sessions from 127.0.0.1 meanwhile',
}
export const limit = { full: 90, quick: 40 }

export async function script(kit) {
  const count = kit.pick(2_000, 500)
  await everybody(kit, count)
  await oneSource(kit, count)
}

async function everybody(kit, count) {
  const server = await kit.start('server')
  const client = await kit.start('client', server.ready)
  await client.call('storm', 10)
  const base = await server.probe()
  const times = await client.call('storm', count)
  const inTime = times.filter((ms) => ms <= 10_000).length
  const what = `${count.toLocaleString('en-US')} at once`
  kit.figure({
    name: 'served',
    what: `${what}: served within 10 s`,
    value: (100 * inTime) / count,
    unit: '%',
    least: 95,
  })
  kit.figure({ name: 'last', what: `${what}: the last`, value: Math.max(...times), unit: 'ms' })
  const after = await server.settled(base)
  kit.figure({
    name: 'fds',
    what: `${what}: descriptors left at the server`,
    value: after.fds - base.fds,
    most: 0,
  })
  await client.stop()
  await server.stop()
}

async function oneSource(kit, count) {
  const server = await kit.start('server', { limits: {} })
  const good = await kit.start('client', server.ready)
  const flood = await kit.start('flood', server.ready)
  const quiet = await good.call('oneByOne', 10)
  const flooding = flood.call('flood', count)
  const meanwhile = await good.call('oneByOne', 20)
  const { refused, held, failed } = await flooding
  const { alone, full } = await flood.call('refusals', 50)
  kit.figure({
    name: 'refused',
    what: 'flood: sockets refused',
    value: refused.length,
    least: count - 10 - failed,
  })
  kit.figure({ name: 'held', what: 'flood: sockets that got a place', value: held, most: 10 })
  kit.figure({
    name: 'in flood',
    what: 'flood: from connect to refusal within it, p99',
    value: percentile(refused, 0.99),
    unit: 'ms',
  })
  kit.figure({
    name: 'refusal',
    what: 'source with all its places taken: from connect to refusal, worst of 50',
    value: Math.max(...alone),
    unit: 'ms',
    most: 50,
  })
  kit.figure({ name: 'full', what: 'of these 50, refused', value: full, least: 50 })
  kit.figure({
    name: 'good',
    what: 'flood: sessions of another source served',
    value: meanwhile.length,
    least: 20,
  })
  kit.figure({
    name: 'good worst',
    what: 'flood: the slowest of them',
    value: Math.max(...meanwhile),
    unit: 'ms',
    most: 1000,
  })
  kit.figure({
    name: 'quiet',
    what: 'the slowest without a flood',
    value: Math.max(...quiet),
    unit: 'ms',
  })
}

export const ends = {
  async server(options, context) {
    return await startServer(context, echo, options)
  },

  async client(ready, context) {
    const one = async () => {
      const started = performance.now()
      const stream = await connect({ ...reach(context, ready), connectTimeout: 30_000 })
      await echoed(stream, Buffer.from('here'))
      const took = performance.now() - started
      return { stream, took }
    }
    return {
      /** Milliseconds until each had its echo; those that failed are left out. */
      async storm(count) {
        const all = await Promise.allSettled(Array.from({ length: count }, one))
        const served = all.flatMap(({ value }) => value ?? [])
        for (const { stream } of served) stream.on('error', () => {}).destroy()
        return served.map(({ took }) => took)
      },
      async oneByOne(count) {
        const times = []
        for (let turn = 0; turn < count; turn++) {
          const { stream, took } = await one()
          stream.destroy()
          times.push(took)
        }
        return times
      },
    }
  },

  async flood({ server }) {
    const [host, port] = server.split(':')
    const sockets = []
    const open = () =>
      new Promise((resolve) => {
        const socket = net.connect({ host, port: Number(port), localAddress: '127.0.0.2' })
        sockets.push(socket)
        let started
        socket.on('connect', () => {
          started = performance.now()
          socket.resume()
          socket.once('data', () => resolve({ held: true }))
        })
        socket.on('error', () => {})
        socket.on('close', () => resolve({ took: started && performance.now() - started }))
      })
    return {
      async flood(count) {
        const all = await Promise.all(Array.from({ length: count }, open))
        const refused = all.flatMap(({ took }) => took ?? [])
        const held = all.filter((one) => one.held).length
        return { refused, held, failed: count - refused.length - held }
      },
      /** One after the other, while the others hold all places of this source. */
      async refusals(count) {
        const alone = []
        let full = 0
        for (let turn = 0; turn < count; turn++) {
          const { took, held } = await open()
          if (!held) full += 1
          alone.push(took ?? Number.POSITIVE_INFINITY)
          await sleep(5)
        }
        return { alone, full }
      },
    }
  },
}
