// A topic that two buses keep in NATS: the publisher is at the first, its subscribers are at the second.
import { publisherOf, target } from '../lib/buses.mjs'
import { KEPT } from '../lib/nats.mjs'

export { pids } from '../lib/buses.mjs'

export const publisher = (context) => publisherOf(KEPT, context)

export async function subscribe(context, _address, onPayload, since) {
  const subscribed = await target(context, 1)
  const events = subscribed.subscribe(KEPT, { limit: 1_000_000, ...(since && { since }) })
  if (!(await subscribed.ready(KEPT))) throw new Error('the subscription was not acknowledged')
  void take(events, onPayload)
}

async function take(events, onPayload) {
  for await (const { detail, seq } of events) onPayload(detail, seq)
}
