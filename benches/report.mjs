// Writes the last full runs, of the comparisons and of the reliability scripts, into BENCHMARKS.md.
//
//   node benches/report.mjs
import fs from 'node:fs'
import { loadMetric, metricNames } from './lib/registry.mjs'
import { renderResult } from './lib/table.mjs'
import { renderRun } from './reliability/lib/render.mjs'

const page = new URL('../BENCHMARKS.md', import.meta.url)

for (const [section, file] of [
  ['comparisons', 'latest'],
  ['forwards', 'forwards'],
  ['transports', 'transports'],
]) {
  await write(section, file, async (result) => {
    const modules = metricNames.map(async (name) => [name, await loadMetric(name)])
    return [
      surroundings(result),
      renderResult(result, Object.fromEntries(await Promise.all(modules))),
    ]
  })
}
await write('reliability', 'reliability', (result) => [reliabilityRun(result), renderRun(result)])

/** Fills the section `name` from a file of results. */
async function write(name, file, render) {
  const results = new URL(`results/${file}.json`, import.meta.url)
  if (!fs.existsSync(results)) return process.stdout.write(`${name}: no full run recorded\n`)
  const body = (await render(JSON.parse(fs.readFileSync(results, 'utf8')))).join('\n\n')
  const marks = new RegExp(
    `(<!-- ${name}: begin, made by node benches/report.mjs -->\n).*(<!-- ${name}: end -->)`,
    's',
  )
  const text = fs.readFileSync(page, 'utf8')
  fs.writeFileSync(
    page,
    text.replace(marks, (_, begin, end) => `${begin}\n${body}\n\n${end}`),
  )
}

function surroundings({ machine, versions, rounds, started, load_before: load }) {
  const { openssl } = machine
  const peers = Object.entries(versions).map((entry) => entry.join(' '))
  return [
    `${started.slice(0, 10)}, commit ${machine.commit}, ${rounds} rounds, load ${load} before the first.`,
    `${described(machine)} with OpenSSL ${openssl}; ${peers.join(', ')}.`,
  ].join('\n')
}

function reliabilityRun({ machine, started, load_before: load, seed, scripts }) {
  const minutes = Math.round(scripts.reduce((sum, { seconds }) => sum + seconds, 0) / 60)
  return [
    `${started.slice(0, 10)}, commit ${machine.commit}, seed ${seed}, ${minutes} minutes, load ${load} before the first.`,
    `${described(machine)}.`,
  ].join('\n')
}

function described({ cpu, memory_GiB: memory, system, node }) {
  return `${cpu}, ${memory} GiB, ${system}, Node ${node}`
}
