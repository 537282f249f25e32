// What the peers share that are two buses in one NATS: the publisher is at the first, its subscribers are at the second.
import { createAlknetEventTarget, openSession } from '../../index.js'

const HIGH_WATER = 1 << 20

export const pids = ({ nats, buses }) => [nats.pid, ...buses.map(({ pid }) => pid)]

/** An event target at one of the buses. */
export async function target({ buses, clientKey }, which) {
  const options = { identity: clientKey, reconnect: false }
  const session = await openSession(buses[which].connectionString, options)
  return createAlknetEventTarget({ stream: await session.open() })
}

/** Publishes to `topic` at the first. */
export async function publisherOf(topic, context) {
  const publishing = await target(context, 0)
  return {
    address: {},
    publish: (detail) => publishing.dispatchEvent(new CustomEvent(topic, { detail })),
    async flush() {
      if (publishing.bufferedAmount > HIGH_WATER) await publishing.drained()
    },
  }
}
