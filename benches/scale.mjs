#!/usr/bin/env node
// How far the bus goes: the arithmetic of docs/scale.md for many servers, with what an event and an idle client cost on this machine.
//   node benches/scale.mjs [--clients N] [--servers N] [--topics N] [--per-client N] [--events-per-s N] [--measure]
// --measure takes the costs from two servers over NATS, which wants an optimised build.
import { parseArgs } from 'node:util'
import { events, play, populate } from './lib/scale.mjs'
import { measure } from './lib/scale-measure.mjs'

const number = (text) => ({ type: 'string', default: text })
const { values } = parseArgs({
  options: {
    clients: number('100000'),
    servers: number('100'),
    topics: number('10000'),
    'per-client': number('5'),
    'events-per-s': number('10000'),
    skew: number('0.5'),
    measure: { type: 'boolean', default: false },
  },
})
const [clients, servers, topics] = [values.clients, values.servers, values.topics].map(Number)
const [perClient, rate, skew] = [values['per-client'], values['events-per-s'], values.skew].map(
  Number,
)

const world = populate({ clients, servers, topics, perClient, skew })
const SECONDS = 10
const counts = play(world, events(world, rate * SECONDS, skew))

const busiest = (all) => Math.max(...all) / SECONDS
const mean = (all) => all.reduce((one, two) => one + two, 0) / all.length / SECONDS
const row = (name, all) => ({
  '': name,
  mean: Math.round(mean(all)),
  busiest: Math.round(busiest(all)),
})
console.log(
  `${clients} clients on ${servers} servers, ${perClient} of ${topics} topics each, ${rate} events/s\n`,
)
console.table([
  row('published/s', counts.published),
  row('received from NATS/s', counts.received),
  row('delivered/s', counts.delivered),
])
const perSecond = (count) => Math.round(count / SECONDS)
console.log(
  `messages into NATS: ${perSecond(counts.intoNats)}/s at most, out of it: ${perSecond(counts.outOfNats)}/s`,
)

if (values.measure) {
  const costs = await measure()
  const cpu = Array.from(counts.published, (published, server) => {
    const parts = [
      published * costs.us_per_published,
      counts.received[server] * costs.us_per_received,
      counts.delivered[server] * costs.us_per_delivery,
    ]
    return parts.reduce((one, two) => one + two, 0)
  })
  const percent = (us) => `${(us / 1e4).toFixed(1)} %`
  const memory = Math.round(((clients / servers) * costs.KiB_per_client) / 1024)
  console.log('costs:', costs)
  console.log(`of a core, each server: ${percent(mean(cpu))}, the busiest ${percent(busiest(cpu))}`)
  console.log(`memory of a server's clients: ${memory} MiB`)
  process.exit()
}
