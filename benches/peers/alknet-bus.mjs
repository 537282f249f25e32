// The bus of `alknet serve` in a process of its own, between a publisher and its subscribers, each on a session of its own.
import { createAlknetEventTarget, openSession, serve } from '../../index.js'

const TOPIC = 'bench'
const HIGH_WATER = 1 << 20

export const pids = ({ bus }) => [bus.pid]

const session = ({ bus, clientKey }) =>
  openSession(bus.connectionString, { identity: clientKey, reconnect: false })

export async function publisher(context) {
  const target = createAlknetEventTarget({ stream: await (await session(context)).open() })
  return {
    address: {},
    publish: (detail) => target.dispatchEvent(new CustomEvent(TOPIC, { detail })),
    async flush() {
      if (target.bufferedAmount > HIGH_WATER) await target.drained()
    },
  }
}

export async function subscribe(context, _address, onPayload) {
  await listen(await session(context), ({ detail }) => onPayload(detail))
}

/** A hub in this process. */
export async function hub({ hostKey, clientPublicKey: authorizedKeys }) {
  const server = await serve({ bus: true, hostKey, authorizedKeys, listen: '127.0.0.1:0' })
  return { connectionString: server.connectionString }
}

/** `count` subscribers that hear nothing, on one session. */
export async function subscribeIdle(context, count) {
  const shared = await session(context)
  const all = []
  while (all.length < count) all.push(await listen(shared, () => {}))
  return all
}

async function listen(shared, listener) {
  const target = createAlknetEventTarget({ stream: await shared.open() })
  target.addEventListener(TOPIC, listener)
  if (!(await target.ready(TOPIC))) throw new Error('the subscription was not acknowledged')
  return target
}
