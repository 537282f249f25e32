// graphql-yoga's publish/subscribe over this package's event target.
import { targetPublisher, targetSubscriber } from '../lib/alknet-targets.mjs'
import { yogaPublisher, yogaSubscriber } from '../lib/yoga.mjs'

export const publisher = (context) => targetPublisher(context, yogaPublisher)

export const subscribe = (context, address, onPayload) =>
  targetSubscriber(context, address, (target) => yogaSubscriber(target, onPayload))
