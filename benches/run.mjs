// Measures alknet and its peers in the same run, a pair of processes for each measurement, the peers taking turns.
//
//   npm run bench -- --help
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { readOptions, usage } from './lib/options.mjs'
import { families, loadMetric, peerNames } from './lib/registry.mjs'

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
  await print(result, options, save(result, options))
  if (failed) process.exitCode = 1
}

/** Installs and builds, with all of its talk on stderr. */
function prepare({ build, metrics, peers }) {
  const args = [path.join(here, 'prepare.mjs')]
  if (build && peers.some(isOurs)) args.push('--build')
  const programs = [...families.forwards, ...families.transports]
  if (metrics.some((name) => programs.includes(name))) args.push('--program')
  const child = spawn(process.execPath, args, { stdio: ['ignore', 2, 2] })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (code) =>
      code === 0 ? resolve() : reject(new Error('installing or building has failed, see above')),
    )
  })
}

// Only full runs replace the figures that BENCHMARKS.md is made from: forwards and transports have files of their own, the rest
// has another.
function save(result, options) {
  const { forwards, transports, ...others } = families
  const files = { forwards, transports, latest: Object.values(others).flat() }
  const full = Object.entries(files).filter(([, wanted]) => isFull(options, wanted))
  for (const [name, wanted] of full) write(name, only(result, wanted))
  const [name] = full.map(([name]) => name)
  return full.length === 1 && options.metrics.length === files[name].length
    ? file(name)
    : write('partial', result)
}

// No constants from here on: the program runs before it comes to these lines.
function isFull({ quick, build, rounds, metrics, peers }, wanted) {
  const whole = build && !quick && rounds >= 3 && peers.length === peerNames.length
  return whole && wanted.every((name) => metrics.includes(name))
}

/** The rows of these metrics, and the bars that are about them. */
function only({ rows, bars, ...rest }, metrics) {
  const own = rows.filter(({ metric }) => metrics.includes(metric))
  const known = new Set(own.flatMap(({ values }) => Object.keys(values ?? {})))
  return { ...rest, rows: own, bars: bars.filter(({ value }) => known.has(value)) }
}

function file(name) {
  return path.join(here, 'results', `${name}.json`)
}

function write(name, result) {
  fs.mkdirSync(path.dirname(file(name)), { recursive: true })
  fs.writeFileSync(file(name), `${JSON.stringify(result, null, 2)}\n`)
  return file(name)
}

async function print(result, { json, metrics }, saved) {
  if (json) return process.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
  const { renderResult } = await import('./lib/table.mjs')
  const modules = await Promise.all(metrics.map(async (name) => [name, await loadMetric(name)]))
  process.stdout.write(`\n${renderResult(result, Object.fromEntries(modules))}\n\n`)
  process.stdout.write(`written to ${path.relative(process.cwd(), saved)}\n`)
}
