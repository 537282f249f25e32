// Fifty subscribers of a bus, one of which stops reading: what the others lose, and what the server holds for the one.
import { setTimeout as sleep } from 'node:timers/promises'
import { createAlknetEventTarget, frameStream } from '../../../index.js'
import { session, startServer } from '../lib/ends.mjs'

export const title = 'a subscriber that stops reading'
export const runs = {
  full: '50 subscribers of a bus, one that does not read; 20,000 events of 1 KB',
  quick: '50 subscribers of a bus, one that does not read; 8,000 events of 1 KB',
}
export const limit = { full: 120, quick: 60 }

const TOPIC = 'flood'
const READERS = 49
const SIZE = 1000
// With the frame and the envelope around it.
const FRAME = 4 + SIZE + '{"type":"flood","id":"","payload":""}'.length
// What a stream takes for sending besides.
const STREAM = 2 ** 20

export async function script(kit) {
  const count = kit.pick(20_000, 8000)
  const server = await kit.start('server')
  const client = await kit.start('client', server.ready)
  await client.call('subscribe')
  const publishing = server.call('publish', count)
  const heard = await client.call('heard', count)
  await publishing
  const { droppedSlowConsumer: dropped, published } = await server.call('metrics')
  const last = await client.call('last')
  kit.figure({
    name: 'heard',
    what: `events that each of the other ${READERS} got, the least of them`,
    value: heard,
    least: count,
  })
  kit.figure({
    name: 'told',
    what: 'the slow one was closed and told slow_consumer',
    value: Number(last.includes('slow_consumer')),
    least: 1,
  })
  kit.figure({
    name: 'held',
    what: 'held for it when it was closed, what its stream may hold included',
    // The last one is that for which there was no room.
    value: ((dropped - 1) * FRAME + STREAM) / 2 ** 20,
    unit: 'MiB',
    most: 4,
  })
  kit.figure({ name: 'published', what: 'events published', value: published, least: count })
}

export const ends = {
  async server(_, context) {
    const { server, ready } = await startServer(context, () => {}, { bus: true })
    const detail = 'x'.repeat(SIZE)
    return {
      ready,
      async publish(count) {
        for (let number = 0; number < count; number++) {
          await server.bus.publish(new CustomEvent(TOPIC, { detail }))
        }
      },
      metrics: () => server.metrics().bus,
    }
  },

  async client(ready, context) {
    const heard = Array.from({ length: READERS }, () => 0)
    let slow
    return {
      async subscribe() {
        const one = await session(context, ready)
        for (const at of heard.keys()) {
          const target = createAlknetEventTarget({ stream: await one.open() })
          target.addEventListener(TOPIC, () => {
            heard[at] += 1
          })
          if (!(await target.ready(TOPIC))) throw new Error('not subscribed')
        }
        // A window as small as may be, so that little waits at this end.
        const other = await session(context, ready, { window: 262_144 })
        slow = frameStream(await other.open())
        await slow.send(JSON.stringify({ type: '__subscribe', id: '', payload: { topic: TOPIC } }))
        await slow[Symbol.asyncIterator]().next()
      },
      /** The least that a reader got, once all have got `count`, or have got no more for 10 s. */
      async heard(count) {
        for (let before = -1, least = 0; least < count && least > before; ) {
          before = least
          for (let turn = 0; turn < 100 && least < count; turn++) {
            await sleep(100)
            least = Math.min(...heard)
          }
        }
        return Math.min(...heard)
      },
      /** The last that the slow one was sent. */
      async last() {
        let last = ''
        for await (const frame of slow) last = frame.toString()
        return last
      },
    }
  },
}
