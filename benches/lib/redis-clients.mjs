// What the two peers over Redis share.
import { Redis } from 'ioredis'

export const redisPids = ({ redis }) => [redis.pid]

export async function redisClient({ redis }) {
  const client = new Redis({ host: '127.0.0.1', port: redis.port, lazyConnect: true })
  await client.connect()
  return client
}

/** Publishing knows no backpressure; an answer to a later command says that all before it were taken. */
export const taken = (client) => client.ping()
