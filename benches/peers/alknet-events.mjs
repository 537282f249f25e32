// This package's event target, by the platform's own calls.
import { targetPublisher, targetSubscriber } from '../lib/alknet-targets.mjs'

const TOPIC = 'bench'

export const publisher = (context) =>
  targetPublisher(
    context,
    (target) => (detail) => target.dispatchEvent(new CustomEvent(TOPIC, { detail })),
  )

export const subscribe = (context, address, onPayload) =>
  targetSubscriber(context, address, (target) => {
    target.addEventListener(TOPIC, ({ detail }) => onPayload(detail))
    return TOPIC
  })
