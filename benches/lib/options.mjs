// The command line of `npm run bench`.
import { parseArgs } from 'node:util'
import { metricNames, peerNames } from './registry.mjs'

export const usage = `node benches/run.mjs [options]

  --quick          shorter measurements
  --rounds N       rounds, interleaved over the peers (default 3)
  --only LIST      metrics: ${metricNames.join(',')}
  --peers LIST     peers: ${peerNames.join(',')}
  --json           results as JSON on stdout, nothing else
  --no-build       take alknet as it was last built
  --help`

/** What was asked for, checked. Throws with a line for the user. */
export function readOptions(args) {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string', default: '3' },
      only: { type: 'string' },
      peers: { type: 'string' },
      json: { type: 'boolean', default: false },
      'no-build': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  const rounds = Number(values.rounds)
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds takes a whole number')
  return {
    ...values,
    rounds,
    build: !values['no-build'],
    metrics: pick('--only', values.only, metricNames),
    peers: pick('--peers', values.peers, peerNames),
  }
}

function pick(option, list, known) {
  if (list === undefined) return known
  const wanted = list.split(',')
  const unknown = wanted.find((name) => !known.includes(name))
  if (unknown !== undefined) throw new Error(`${option}: ${unknown} is none of ${known.join(', ')}`)
  return known.filter((name) => wanted.includes(name))
}
