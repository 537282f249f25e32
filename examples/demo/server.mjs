// The server's process. Its first client brings bytes, its second one events.
import { once } from 'node:events'
import { finished } from 'node:stream/promises'
import { createAlknetEventTarget, serve } from '@alkdev/alknet'
import { makeParcel, readParcel, sendTicks, Tally } from './parcel.mjs'

const [authorizedKeys] = process.argv.slice(2)

const server = await serve({ listen: '127.0.0.1:0', authorizedKeys })
const acts = [exchangeBytes, exchangeEvents]
const shown = []
server.onConnection((stream, info) => shown.push(acts[shown.length](stream, info)))

tell('listening', {
  address: server.addresses[0],
  fingerprint: server.hostKeyFingerprint,
  connectionString: server.connectionString,
})

await once(process, 'message') // the demo is over
await Promise.all(shown)
await server.close()
process.disconnect()

async function exchangeBytes(stream, info) {
  const { chunks, sha256 } = makeParcel()
  const received = await readParcel(stream) // ends when the client half-closes
  for (const chunk of chunks) {
    if (!stream.write(chunk)) await once(stream, 'drain')
  }
  stream.end()
  await finished(stream)
  tell('bytes', { received, sent: sha256, user: info.user, key: info.keyFingerprint })
}

async function exchangeEvents(stream) {
  const events = createAlknetEventTarget({ stream })
  const tally = new Tally()
  events.addEventListener('ping', ({ detail }) => {
    events.dispatchEvent(new CustomEvent('pong', { detail }))
  })
  const complete = new Promise((resolve) => {
    events.addEventListener('tick', ({ detail }) => {
      if (tally.add(detail.number)) resolve()
    })
  })
  await complete
  tell('events', { received: tally.result })
  await sendTicks(events)
  await events.closed
}

function tell(what, detail) {
  process.send({ what, ...detail })
}
