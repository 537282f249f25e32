// graphql-yoga's publish/subscribe over its Redis event target.

import { setTimeout as sleep } from 'node:timers/promises'
import { createRedisEventTarget } from '@graphql-yoga/redis-event-target'
import { redisClient, redisPids, taken } from '../lib/redis-clients.mjs'
import { yogaPublisher, yogaSubscriber } from '../lib/yoga.mjs'

export const pids = redisPids

export async function publisher(context) {
  const { eventTarget, publishClient } = await redisTarget(context)
  return { address: {}, publish: yogaPublisher(eventTarget), flush: () => taken(publishClient) }
}

export async function subscribe(context, _address, onPayload) {
  const { eventTarget, publishClient } = await redisTarget(context)
  const topic = yogaSubscriber(eventTarget, onPayload)
  const isThere = async () => (await publishClient.pubsub('NUMSUB', topic))[1] > 0
  while (!(await isThere())) await sleep(10)
}

async function redisTarget(context) {
  const publishClient = await redisClient(context)
  const subscribeClient = await redisClient(context)
  return { publishClient, eventTarget: createRedisEventTarget({ publishClient, subscribeClient }) }
}
