// JetStream of NATS with its own client: so many messages on their way to the store, an ordered consumer.
import { DeliverPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'

const NAME = 'bench'
const SUBJECT = 'bench.kept'
/** Messages that are not known to be stored. */
const MOST = 512

export const pids = ({ nats }) => [nats.pid]

async function stream({ nats }) {
  const connection = await connect({ servers: nats.url })
  const manager = await jetstreamManager(connection)
  await manager.streams.add({ name: NAME, subjects: [SUBJECT] })
  return jetstream(connection)
}

export async function publisher(context) {
  const store = await stream(context)
  let storing = []
  return {
    address: {},
    publish: (payload) => storing.push(store.publish(SUBJECT, JSON.stringify(payload))),
    async flush() {
      if (storing.length < MOST) return
      await Promise.all(storing)
      storing = []
    },
  }
}

export async function subscribe(context, _address, onPayload, since) {
  const store = await stream(context)
  const where =
    since === undefined
      ? { deliver_policy: DeliverPolicy.New }
      : { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: since + 1 }
  const consumer = await store.consumers.get(NAME, where)
  const callback = (message) => onPayload(message.json(), message.seq)
  await consumer.consume({ callback, max_messages: 2000 })
}
