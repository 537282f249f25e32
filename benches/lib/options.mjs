// The command line of `npm run bench`.
import { parseArgs } from 'node:util'
import { families, groups, metricNames, peerNames } from './registry.mjs'

export const usage = `node benches/run.mjs [options]

  --quick          shorter measurements
  --rounds N       rounds, interleaved over the peers (default 3)
  --only LIST      metrics, or the families ${Object.keys(families).join(', ')}:
                   ${metricNames.slice(0, 9).join(',')},
                   ${metricNames.slice(9, 16).join(',')},
                   ${metricNames.slice(16).join(',')}
                   or ${Object.keys(groups).join(', ')}: what is measured over NATS
  --peers LIST     peers: ${peerNames.slice(0, 10).join(',')},
                   ${peerNames.slice(10).join(',')}
  --json           results as JSON on stdout, nothing else
  --no-build       take alknet as it was last built
  --help

A peer is measured at what it can do, and skipped, with the reason, when something that it needs cannot be had. Compilers and
installers run before the first round: rustc for the load generator, cargo for bore and dumbpipe (kept in the cache directory), apt as root
for wrk, redis-server and OpenSSH. The machine should be quiet: the load before the first round is printed with the results.
Results go to benches/results/: latest.json, forwards.json and transports.json for full runs, which \`node benches/report.mjs\` writes into
BENCHMARKS.md, else partial.json. The forwards against their bars, in eight minutes: --only forwards; tcp, tls, ws and iroh: --only transports`

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
  const group = groups[values.only]
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds takes a whole number')
  return {
    ...values,
    rounds,
    build: !values['no-build'],
    metrics: pick('--only', group?.metrics.join(',') ?? values.only, metricNames),
    peers: pick('--peers', values.peers ?? group?.peers.join(','), peerNames),
  }
}

function pick(option, list, known) {
  if (list === undefined) return known
  const wanted = list.split(',').flatMap((name) => families[name] ?? [name])
  const unknown = wanted.find((name) => !known.includes(name))
  if (unknown !== undefined) throw new Error(`${option}: ${unknown} is none of ${known.join(', ')}`)
  return known.filter((name) => wanted.includes(name))
}
