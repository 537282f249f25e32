// What the metrics of events share: the messages, and a subscriber that accepts neither loss nor disorder.
import { setImmediate as nextTurn } from 'node:timers/promises'

const SIZE = 100
const template = { number: 0, sentAt: now(), text: '' }
const text = 'x'.repeat(SIZE - JSON.stringify({ ...template, number: 100_000 }).length)
/** Messages between two looks at backpressure, and per turn of the event loop. */
const BATCH = 64

/** Nanoseconds of the machine's monotonic clock, which both processes share. */
export function now() {
  return Number(process.hrtime.bigint())
}

/** About 100 bytes of JSON. */
export const payload = (number, sentAt) => ({ number, sentAt, text })

/** Publishes `count` messages as fast as there is room. */
export async function flood(publisher, count) {
  const startedAt = now()
  for (let number = 0; number < count; number++) {
    publisher.publish(payload(number, startedAt))
    if (number % BATCH !== BATCH - 1) continue
    await publisher.flush()
    await nextTurn()
  }
  await publisher.flush()
  return { startedAt }
}

/** The subscriber's side: `expect(count)` resolves to the times it took, once all have come in order. */
export class Collector {
  #count = 0
  #next = 0
  #delays = []
  #resolve
  #reject

  expect(count) {
    this.#count = count
    this.#next = 0
    this.#delays = []
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  /** Takes one payload. */
  take({ number, sentAt, text: received }) {
    if (number !== this.#next || received !== text) {
      return this.#reject(new Error(`message ${number} came where ${this.#next} was due`))
    }
    this.#next++
    const receivedAt = now()
    this.#delays.push((receivedAt - sentAt) / 1000)
    if (this.#next === this.#count) this.#resolve({ receivedAt, delays: this.#delays })
  }
}

/** The server side of both metrics: a publisher and what `calls` does with it. */
export async function publishing({ peer, context }, calls) {
  const publisher = await peer.publisher(context)
  const bound = Object.entries(calls).map(([name, call]) => [
    name,
    async (...args) => {
      await publisher.ready
      return call(publisher, ...args)
    },
  ])
  return { address: publisher.address, calls: Object.fromEntries(bound) }
}

/** The client side of both metrics: a collector that is subscribed. */
export async function subscribed({ peer, context, address }) {
  const collector = new Collector()
  await peer.subscribe(context, address, (received) => collector.take(received))
  return collector
}
