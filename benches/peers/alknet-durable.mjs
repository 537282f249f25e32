// A topic that two buses keep in NATS: the publisher is at the first, its subscribers are at the second.
import { createAlknetEventTarget, openSession } from '../../index.js'
import { KEPT } from '../lib/nats.mjs'

const HIGH_WATER = 1 << 20

export const pids = ({ nats, buses }) => [nats.pid, ...buses.map(({ pid }) => pid)]

async function target({ buses, clientKey }, which) {
  const options = { identity: clientKey, reconnect: false }
  const session = await openSession(buses[which].connectionString, options)
  return createAlknetEventTarget({ stream: await session.open() })
}

export async function publisher(context) {
  const publishing = await target(context, 0)
  return {
    address: {},
    publish: (detail) => publishing.dispatchEvent(new CustomEvent(KEPT, { detail })),
    async flush() {
      if (publishing.bufferedAmount > HIGH_WATER) await publishing.drained()
    },
  }
}

export async function subscribe(context, _address, onPayload, since) {
  const subscribed = await target(context, 1)
  const events = subscribed.subscribe(KEPT, { limit: 1_000_000, ...(since && { since }) })
  if (!(await subscribed.ready(KEPT))) throw new Error('the subscription was not acknowledged')
  void take(events, onPayload)
}

async function take(events, onPayload) {
  for await (const { detail, seq } of events) onPayload(detail, seq)
}
