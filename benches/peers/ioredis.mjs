// Redis publish and subscribe without a layer on top.
import { redisClient, redisPids, taken } from '../lib/redis-clients.mjs'

export const pids = redisPids

const CHANNEL = 'bench'

export async function publisher(context) {
  const client = await redisClient(context)
  return {
    address: {},
    publish: (payload) => client.publish(CHANNEL, JSON.stringify(payload)),
    flush: () => taken(client),
  }
}

export async function subscribe(context, _address, onPayload) {
  const client = await redisClient(context)
  client.on('message', (_channel, text) => onPayload(JSON.parse(text)))
  await client.subscribe(CHANNEL)
}
