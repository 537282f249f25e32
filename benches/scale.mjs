#!/usr/bin/env node
// How far the bus goes: the arithmetic of docs/scale.md for many servers, with what an event and an idle client cost on this machine.
//   node benches/scale.mjs [--clients N] [--servers N] [--topics N] [--per-client N] [--events-per-s N] [--measure]
// Costs are those of docs/scale.md, unless --measure takes them from two servers over NATS (a minute; wants an optimised build).
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

/** Of one core and of memory, as docs/scale.md has them. */
const DOCUMENTED = {
  us_per_published: 8,
  us_per_received: 6,
  us_per_delivery: 4,
  KiB_per_client: 90,
}

const world = populate({ clients, servers, topics, perClient, skew })
const SECONDS = 10
const counts = play(world, events(world, rate * SECONDS, skew))
const costs = values.measure ? await measure() : DOCUMENTED

const busiest = (all) => Math.max(...all) / SECONDS
const mean = (all) => all.reduce((one, two) => one + two, 0) / all.length / SECONDS
const row = (name, all) => ({
  '': name,
  mean: Math.round(mean(all)),
  busiest: Math.round(busiest(all)),
})
const cpu = Array.from(counts.published, (published, server) => {
  const parts = [
    published * costs.us_per_published,
    counts.received[server] * costs.us_per_received,
    counts.delivered[server] * costs.us_per_delivery,
  ]
  return parts.reduce((one, two) => one + two, 0) / 1e6
})
console.log(
  `${clients} clients on ${servers} servers, ${perClient} of ${topics} topics each, ${rate} events/s\n`,
)
console.table([
  row('published/s', counts.published),
  row('received from NATS/s', counts.received),
  row('delivered/s', counts.delivered),
])
const percent = (share) => `${(100 * share).toFixed(1)} %`
console.log('costs:', costs)
console.log(
  `cores used by a server: ${percent(mean(cpu))} on average, ${percent(busiest(cpu))} the busiest`,
)
console.log(
  `memory of a server's clients: ${Math.round(((clients / servers) * costs.KiB_per_client) / 1024)} MiB`,
)
const perSecond = (count) => Math.round(count / SECONDS)
console.log(
  `messages into NATS: ${perSecond(counts.intoNats)}/s at most, out of it: ${perSecond(counts.outOfNats)}/s`,
)
