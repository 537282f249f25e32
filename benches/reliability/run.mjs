// Reliability, in figures: each is printed by the script that measures it and compared with its limit.
//
//   npm run reliability -- --help
import fs from 'node:fs'
import path from 'node:path'
import { describeMachine, load } from '../lib/environment.mjs'
import { makeResources } from '../lib/resources.mjs'
import { ids, loadScript } from './lib/list.mjs'
import { readOptions, usage } from './lib/options.mjs'
import { renderRun } from './lib/render.mjs'
import { runScript } from './lib/script.mjs'
import { judge, sentence } from './lib/verdict.mjs'

const results = new URL('../results/', import.meta.url)
const isBad = ({ verdict }) => verdict === 'MISS'
const say = (text) => process.stdout.write(`${text}\n`)

try {
  process.exitCode = await main(readOptions(process.argv.slice(2)))
} catch (error) {
  process.stderr.write(`reliability: ${error.message}\n`)
  process.exitCode = 1
}

async function main(options) {
  if (options.help) {
    say(usage)
    return 0
  }
  if (options.build) await build()
  const { context, missing, release } = await makeResources([
    ...['ssh keys', 'certificate', 'alknet build', 'program'],
  ])
  const [lacking] = Object.values(missing)
  if (lacking) throw new Error(lacking)
  const run = { started: new Date().toISOString(), quick: options.quick, load_before: load() }
  const scripts = []
  for (const id of options.only) scripts.push(await measure(id, context, options))
  release()
  const result = { ...run, seed: options.seed, machine: describeMachine(), scripts }
  const file = save(result, options)
  say(`\n${renderRun(result)}\n\nwritten to ${path.relative(process.cwd(), file)}`)
  return scripts.some(({ failed, figures }) => failed || figures.some(isBad)) ? 1 : 0
}

async function build() {
  const { build } = await import('../../scripts/build.mjs')
  await build({ release: true, program: true })
}

/** Runs one script; whatever becomes of it is in what this resolves to. */
async function measure(id, context, { quick, seed }) {
  const { title, limit, runs } = await loadScript(id)
  const what = quick ? runs.quick : runs.full
  say(`${id.toUpperCase()} ${title}: ${what}`)
  const started = performance.now()
  const figures = []
  const seconds = quick ? limit.quick : limit.full
  const failed = await runScript({ id, context, quick, seed, seconds }, (figure) => {
    figures.push({ ...figure, verdict: judge(id, figure) })
    say(sentence(id, figures.at(-1)))
  })
  if (failed) say(`${id.toUpperCase()} FAILED: ${failed}`)
  const took = Math.round((performance.now() - started) / 100) / 10
  return { id, title, what, seconds: took, figures, ...(failed && { failed }) }
}

// Only a full run of everything replaces the figures that BENCHMARKS.md is made from.
function save(result, { quick, build, only }) {
  const full = !quick && build && only.length === ids.length
  const name = full ? 'reliability.json' : 'partial-reliability.json'
  const file = new URL(name, results)
  fs.mkdirSync(results, { recursive: true })
  fs.writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`)
  return file.pathname
}
