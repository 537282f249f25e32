// Publish and subscribe of NATS with its own client, JSON as payload.
import { connect } from '@nats-io/transport-node'

const SUBJECT = 'bench'
const HIGH_WATER = 1 << 20

export const pids = ({ nats }) => [nats.pid]

const client = ({ nats }) => connect({ servers: nats.url, noEcho: true })

export async function publisher(context) {
  const connection = await client(context)
  let unflushed = 0
  return {
    address: {},
    publish(payload) {
      const text = JSON.stringify(payload)
      unflushed += text.length
      connection.publish(SUBJECT, text)
    },
    // It tells nothing of what waits, so an answer now and then says that all before it was taken.
    async flush() {
      if (unflushed < HIGH_WATER) return
      unflushed = 0
      await connection.flush()
    },
  }
}

export async function subscribe(context, _address, onPayload) {
  const connection = await client(context)
  connection.subscribe(SUBJECT, { callback: (_error, message) => onPayload(message.json()) })
  await connection.flush()
}
