// The order of things: every round measures every metric of every peer once, one after the other.
import { root } from '../../scripts/support.mjs'
import { describeMachine, load, peerVersions } from './environment.mjs'
import { measure } from './pair.mjs'
import { peers as known, loadMetric } from './registry.mjs'
import { makeResources } from './resources.mjs'
import { Results } from './results.mjs'

/** Resolves to the result of the whole run, and whether any row has failed. */
export async function measureAll({ metrics, peers, rounds, quick, build }, say) {
  const plan = await planOf(metrics, peers)
  const { context, missing, release } = await makeResources(plan.flatMap(needsOf))
  for (const [need, why] of Object.entries(missing)) say(`missing: ${need}: ${why}`)
  const results = new Results()
  const begun = { started: new Date().toISOString(), load_before: load() }
  try {
    for (let round = 1; round <= rounds; round++) {
      for (const step of plan) {
        await takeStep(step, { context, missing, quick, results, say: at(say, round, rounds) })
      }
    }
  } finally {
    release()
  }
  const about = { ...begun, finished: new Date().toISOString(), rounds, quick, built: build }
  const surroundings = { machine: describeMachine(), versions: peerVersions() }
  return { result: { ...about, ...surroundings, ...results.toJSON() }, failed: results.failed }
}

const needsOf = ({ peer, metric }) => [...peer.needs, ...(metric.needs ?? [])]

const at = (say, round, rounds) => (line) => say(`[${round}/${rounds}] ${line}`)

async function planOf(metrics, peers) {
  const steps = []
  for (const metricName of metrics) {
    const metric = await loadMetric(metricName)
    for (const peerName of peers) {
      const peer = known[peerName]
      if (peer.kinds.includes(metric.kind)) steps.push({ metricName, metric, peerName, peer })
    }
  }
  return steps
}

async function takeStep(step, run) {
  const { metricName, metric, peerName, peer } = step
  const { context, missing, quick, results, say } = run
  const row = results.row(metricName, peerName, peer)
  const lack = needsOf(step).find((need) => missing[need])
  if (lack) row.skipped = missing[lack]
  if (row.skipped || row.failed) return
  const settings = quick ? metric.settings.quick : metric.settings.full
  try {
    const task = {
      metric: metricName,
      peer: peerName,
      settings,
      flags: metric.flags ?? [],
      context,
    }
    row.rounds.push(await measure(task))
    say(`${metricName} ${peerName}: ${brief(row.rounds.at(-1))}`)
  } catch (error) {
    row.failed = error.message.replaceAll(root, '.')
    say(`${metricName} ${peerName}: FAILED: ${row.failed}`)
  }
}

function brief(values) {
  return Object.entries(values)
    .map(([name, value]) => `${name} ${value.toPrecision(4)}`)
    .join(', ')
}
