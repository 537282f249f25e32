// Writes the last full run into BENCHMARKS.md.
//
//   node benches/report.mjs
import fs from 'node:fs'
import { loadMetric, metricNames } from './lib/registry.mjs'
import { renderResult } from './lib/table.mjs'

const page = new URL('../BENCHMARKS.md', import.meta.url)
const latest = new URL('results/latest.json', import.meta.url)
const section = /(<!-- made by [^\n]*begin -->\n).*(<!-- end -->)/s

if (fs.existsSync(latest)) await write(JSON.parse(fs.readFileSync(latest, 'utf8')))
else process.stdout.write('no full run recorded: `npm run bench` makes one\n')

async function write(result) {
  const modules = await Promise.all(metricNames.map(async (name) => [name, await loadMetric(name)]))
  const tables = renderResult(result, Object.fromEntries(modules))
  const text = fs.readFileSync(page, 'utf8')
  const body = `\n${surroundings(result)}\n\n${tables}\n\n`
  fs.writeFileSync(
    page,
    text.replace(section, (_, begin, end) => `${begin}${body}${end}`),
  )
}

function surroundings({ machine, versions, rounds, started, load_before: load }) {
  const { cpu, memory_GiB: memory, system, node, openssl, commit } = machine
  const peers = Object.entries(versions).map((entry) => entry.join(' '))
  return [
    `${started.slice(0, 10)}, commit ${commit}, ${rounds} rounds, load ${load} before the first.`,
    `${cpu}, ${memory} GiB, ${system}, Node ${node} with OpenSSL ${openssl}; ${peers.join(', ')}.`,
  ].join('\n')
}
