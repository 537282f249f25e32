// The two ends of an alknet event target over a stream of its own, as its peers of events use it.
import { createAlknetEventTarget } from '../../index.js'
import { listen, openSession } from '../peers/alknet.mjs'

const HIGH_WATER = 1 << 20

/** The publishing end; `publish(target, payload)` does it. */
export async function targetPublisher(context, prepare) {
  let target
  let publish
  let onReady
  const ready = new Promise((resolve) => {
    onReady = resolve
  })
  const { address } = await listen(context, (stream) => {
    target = createAlknetEventTarget({ stream })
    publish = prepare(target)
    onReady()
  })
  return {
    address,
    ready,
    publish: (payload) => publish(payload),
    async flush() {
      if (target.bufferedAmount > HIGH_WATER) await target.drained()
    },
  }
}

/** The subscribing end; `subscribe(target)` says to which topic. */
export async function targetSubscriber(context, address, subscribe) {
  const session = await openSession(context, address)
  const target = createAlknetEventTarget({ stream: await session.open() })
  const topic = subscribe(target)
  if (!(await target.ready(topic))) throw new Error('the subscription was not acknowledged')
}
