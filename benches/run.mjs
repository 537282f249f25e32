// Measures alknet and its peers in the same run, a pair of processes for each measurement, the peers taking turns.
//
//   npm run bench -- --help
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { readOptions, usage } from './lib/options.mjs'
import { loadMetric, metricNames, peerNames } from './lib/registry.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
const isOurs = (peer) => peer.includes('alknet')

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))

await main().catch((error) => {
  process.stderr.write(`bench: ${error.message}\n`)
  process.exitCode = 1
})

async function main() {
  const options = readOptions(process.argv.slice(2))
  if (options.help) return process.stdout.write(`${usage}\n`)
  await prepare(options)
  // Only now is everything there that this imports.
  const { measureAll } = await import('./lib/rounds.mjs')
  if (!options.build) process.stderr.write('alknet is taken as last built: optimised or not\n')
  const { result, failed } = await measureAll(options, (line) => process.stderr.write(`${line}\n`))
  const file = save(result, options)
  await print(result, options, file)
  if (failed) process.exitCode = 1
}

/** Installs and builds, with all of its talk on stderr. */
function prepare({ build, peers }) {
  const args = [path.join(here, 'prepare.mjs'), ...(build && peers.some(isOurs) ? ['--build'] : [])]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 2, 2] })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (code) =>
      code === 0 ? resolve() : reject(new Error('installing or building has failed, see above')),
    )
  })
}

// Only a full run replaces the figures that BENCHMARKS.md is made from.
function save(result, { quick, build, rounds, metrics, peers }) {
  const everything = metrics.length === metricNames.length && peers.length === peerNames.length
  const full = everything && build && !quick && rounds >= 3
  const file = path.join(here, 'results', full ? 'latest.json' : 'partial.json')
  fs.mkdirSync(path.dirname(file), { recursive: true })
  fs.writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`)
  return file
}

async function print(result, { json, metrics }, file) {
  if (json) return process.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
  const { renderResult } = await import('./lib/table.mjs')
  const modules = await Promise.all(metrics.map(async (name) => [name, await loadMetric(name)]))
  process.stdout.write(`\n${renderResult(result, Object.fromEntries(modules))}\n\n`)
  process.stdout.write(`written to ${path.relative(process.cwd(), file)}\n`)
}
