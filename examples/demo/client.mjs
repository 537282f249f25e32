// The client's process: bytes both ways, then events both ways, and two attempts that must fail.
import { once } from 'node:events'
import { performance } from 'node:perf_hooks'
import { connect, createAlknetEventTarget } from '@alkdev/alknet'
import { makeParcel, readParcel, roundTrips, sendTicks, Tally } from './parcel.mjs'

const [connectionString, address, identity, stranger, wrongHostKey] = process.argv.slice(2)

await exchangeBytes()
await exchangeEvents()
await expectRefusals()
process.disconnect()

async function exchangeBytes() {
  const { chunks, sha256 } = makeParcel()
  const stream = await connect(connectionString, { identity })
  for (const chunk of chunks) {
    if (!stream.write(chunk)) await once(stream, 'drain')
  }
  stream.end() // our side only: the server answers after it
  tell('bytes', { received: await readParcel(stream), sent: sha256 })
}

async function exchangeEvents() {
  const events = createAlknetEventTarget({ stream: await connect(connectionString, { identity }) })
  const tally = new Tally()
  const complete = new Promise((resolve) => {
    events.addEventListener('tick', ({ detail }) => {
      if (tally.add(detail.number)) resolve()
    })
  })
  const times = await pingPong(events)
  await sendTicks(events)
  await complete
  tell('events', { received: tally.result, times })
  await events.close()
}

/** One after the other, so each is a whole way there and back. Milliseconds, ascending. */
async function pingPong(events) {
  let answered = () => {}
  events.addEventListener('pong', ({ detail }) => answered(detail.number))
  if (!(await events.ready('pong')))
    throw new Error('the server does not acknowledge subscriptions')
  const times = []
  for (let number = 0; number < roundTrips; number += 1) {
    const started = performance.now()
    const answer = new Promise((resolve) => {
      answered = resolve
    })
    events.dispatchEvent(new CustomEvent('ping', { detail: { number } }))
    if ((await answer) !== number) throw new Error('a pong for another ping')
    times.push(performance.now() - started)
  }
  return times.sort((a, b) => a - b)
}

async function expectRefusals() {
  const outcome = (attempt) =>
    attempt.then(
      (stream) => stream.destroy() && 'let in',
      (error) => error.code,
    )
  tell('refusals', {
    wrongHostKey: await outcome(connect({ server: address, identity, hostKeys: wrongHostKey })),
    stranger: await outcome(connect(connectionString, { identity: stranger })),
  })
}

function tell(what, detail) {
  process.send({ what, ...detail })
}
