// Two buses that NATS makes one: the publisher is at the first, its subscribers are at the second.
import { createAlknetEventTarget, openSession } from '../../index.js'

const TOPIC = 'bench'
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
    publish: (detail) => publishing.dispatchEvent(new CustomEvent(TOPIC, { detail })),
    async flush() {
      if (publishing.bufferedAmount > HIGH_WATER) await publishing.drained()
    },
  }
}

export async function subscribe(context, _address, onPayload) {
  const subscribed = await target(context, 1)
  subscribed.addEventListener(TOPIC, ({ detail }) => onPayload(detail))
  if (!(await subscribed.ready(TOPIC))) throw new Error('the subscription was not acknowledged')
}
