// A bus whose program dials: the workers listen, and are its members by their host keys.
import { once } from 'node:events'
import { createAlknetBus, createAlknetEventTarget, openSession, serve } from '@alkdev/alknet'

const worker = await serve({ listen: '127.0.0.1:0', authorizedKeys: 'authorized_keys' })
worker.onConnection(async (stream) => {
  const events = createAlknetEventTarget({ stream })
  events.addEventListener('task', ({ detail }) => {
    events.dispatchEvent(new CustomEvent('done', { detail: detail * detail }))
  })
})

const bus = await createAlknetBus()
const session = await openSession(worker.connectionString, { identity: 'client_key' })
bus.join(session)
const done = once(bus.target, 'done')
await bus.target.ready('done')
// A worker hears what is published once it is subscribed; here it is when its task is wanted.
while (bus.metrics().subscriptions < 2) await new Promise(setImmediate)
bus.target.dispatchEvent(new CustomEvent('task', { detail: 12 }))
const [{ detail, from }] = await done
console.log(detail, from === worker.hostKeyFingerprint)
await session.close()
await bus.close()
await worker.close()
