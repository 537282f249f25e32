// Two buses that NATS makes one: the publisher is at the first, its subscribers are at the second.
import { publisherOf, target } from '../lib/buses.mjs'

export { pids } from '../lib/buses.mjs'

const TOPIC = 'bench'

export const publisher = (context) => publisherOf(TOPIC, context)

export async function subscribe(context, _address, onPayload) {
  const subscribed = await target(context, 1)
  subscribed.addEventListener(TOPIC, ({ detail }) => onPayload(detail))
  if (!(await subscribed.ready(TOPIC))) throw new Error('the subscription was not acknowledged')
}
