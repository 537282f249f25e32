// graphql-yoga's publish/subscribe on whatever event target it is given.
import { createPubSub } from '@graphql-yoga/subscription'

const TOPIC = 'bench'

export function yogaPublisher(eventTarget) {
  const pubSub = createPubSub({ eventTarget })
  return (payload) => pubSub.publish(TOPIC, payload)
}

/** Calls `onPayload` with each message. Whether the far end knows of it yet is the event target's affair. */
export function yogaSubscriber(eventTarget, onPayload) {
  const messages = createPubSub({ eventTarget }).subscribe(TOPIC)
  // The iterator subscribes when it is first asked.
  const first = messages.next()
  consume(first, messages, onPayload)
  return TOPIC
}

async function consume(first, messages, onPayload) {
  const { done, value } = await first
  if (!done) onPayload(value)
  for await (const payload of messages) onPayload(payload)
}
