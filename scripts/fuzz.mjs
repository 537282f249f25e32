// Feeds every parser and decoder with what a fuzzer makes up, the inputs in fuzz/corpus/ first. Installs cargo-fuzz if it is missing.
//
//   node scripts/fuzz.mjs [--minutes N] [--keep] [target ...]
//
// N minutes for all targets together (default 5). `--keep` adds inputs that reach new code to fuzz/corpus/, the least set of them;
// otherwise they stay beside the compiled crates for the next run. Exit code 1 when a target crashed, hung or ate memory.
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import {
  cacheDir,
  ensureRust,
  env,
  Failure,
  findProgram,
  must,
  output,
  program,
  root,
  say,
  track,
} from './support.mjs'

const CARGO_FUZZ = '0.13.2'
/** What one input may cost: nothing here needs a hundredth of it. */
const LIMITS = ['-rss_limit_mb=512', '-malloc_limit_mb=64', '-timeout=1', '-max_len=4096']
/** The exit code of a fuzzer that ran into `-timeout`. */
const TOO_SLOW = 70

const home = path.join(root, 'fuzz')
const target = path.join(env.CARGO_TARGET_DIR, 'fuzz')

async function main(args) {
  const { minutes, keep, names } = options(args)
  await ensureRust()
  await build()
  const seconds = Math.max(1, Math.round((minutes * 60) / names.length))
  const rows = []
  for (const name of names) {
    say(`${name}, for ${seconds} s`)
    rows.push(await fuzz(name, seconds))
    if (keep) await merge(name)
  }
  console.table(Object.fromEntries(rows.map(({ name, reproducer, ...row }) => [name, row])))
  const failed = rows.filter((row) => row.result !== 'ok')
  for (const { name, result, reproducer } of failed) {
    say(`FAILED: ${name}: ${result}; again with: ${binary(name)} ${reproducer ?? ''}`)
  }
  return failed.length === 0 ? 0 : 1
}

function options(args) {
  const all = fs.readdirSync(path.join(home, 'targets')).map((file) => path.parse(file).name)
  const rest = [...args]
  const names = []
  let minutes = 5
  let keep = false
  while (rest.length > 0) {
    const arg = rest.shift()
    if (arg === '--keep') keep = true
    else if (arg === '--minutes') minutes = Number(rest.shift())
    else if (all.includes(arg)) names.push(arg)
    else throw new Failure(`${arg} is neither an option nor a target; targets: ${all.join(', ')}`)
  }
  if (!(minutes > 0)) throw new Failure('--minutes takes a number above 0')
  return { minutes, keep, names: names.length > 0 ? names : all.sort() }
}

async function build() {
  const tools = path.join(cacheDir, 'tools')
  env.PATH = [path.join(tools, 'bin'), env.PATH].join(path.delimiter)
  if (!(await output('cargo-fuzz', ['--version'])) && !findProgram('cargo-fuzz')) {
    say(`installing cargo-fuzz ${CARGO_FUZZ} in ${tools}`)
    const crate = ['cargo-fuzz', '--version', CARGO_FUZZ, '--locked', '--root', tools]
    await must('cargo', ['install', ...crate], { what: 'installing cargo-fuzz' })
  }
  const libraries = (await output('rustc', ['--print', 'target-libdir']))?.trim() ?? ''
  const asan = fs.existsSync(libraries) && fs.readdirSync(libraries).some((f) => /asan/.test(f))
  if (!asan) say('this toolchain has no address sanitizer: fuzzing without')
  const args = ['fuzz', 'build', '--fuzz-dir', home, '--target-dir', target]
  args.push('--target', env.CARGO_BUILD_TARGET, '--sanitizer', asan ? 'address' : 'none')
  // The flags of a fuzzed build are not stable; that is all it takes of a nightly compiler.
  await must('cargo', args, { env: { ...env, RUSTC_BOOTSTRAP: '1' }, what: 'building fuzz/' })
}

function binary(name) {
  return path.join(target, env.CARGO_BUILD_TARGET, 'release', name)
}

function corpus(name) {
  const kept = path.join(home, 'corpus', name)
  const found = path.join(target, 'corpus', name)
  fs.mkdirSync(found, { recursive: true })
  return { kept, found }
}

async function fuzz(name, seconds) {
  const row = { name, result: 'ok', executions: 0, 'new inputs': 0, 'MB at most': 0 }
  const end = Date.now() + seconds * 1000
  let again = true
  while (again) again = await fuzzUntil(end, row)
  return row
}

/** Resolves to whether there is time left, and no finding that ends it. */
async function fuzzUntil(end, row) {
  const { kept, found } = corpus(row.name)
  const artifacts = path.join(home, 'artifacts', row.name)
  fs.mkdirSync(artifacts, { recursive: true })
  const seconds = Math.max(1, Math.round((end - Date.now()) / 1000))
  const args = [...LIMITS, `-max_total_time=${seconds}`, '-print_final_stats=1']
  args.push(`-artifact_prefix=${artifacts}/`, found, kept)
  const tail = []
  const stats = {}
  let reproducer
  const code = await lines(binary(row.name), args, (line) => {
    const [, stat, value] = /^stat::(\w+):\s+(\d+)/.exec(line) ?? []
    if (stat) stats[stat] = Number(value)
    reproducer = /Test unit written to (.+)$/.exec(line)?.[1] ?? reproducer
    if (tail.push(line) > 60) tail.shift()
  })
  row.executions += stats.number_of_executed_units ?? 0
  row['new inputs'] += stats.new_units_added ?? 0
  row['MB at most'] = Math.max(row['MB at most'], stats.peak_rss_mb ?? 0)
  if (code === 0) return false
  // Its clock goes on while a busy machine lets others run: what is quick by itself is no finding.
  if (
    code === TOO_SLOW &&
    (await lines(binary(row.name), [...LIMITS, reproducer], () => {})) === 0
  ) {
    fs.rmSync(reproducer)
    return Date.now() < end
  }
  row.result =
    { [TOO_SLOW]: 'too slow', 71: 'too much memory' }[code] ?? `crash (exit code ${code})`
  row.reproducer = reproducer
  console.log(tail.join('\n'))
  return false
}

// By what is reached, not by how often: tens of inputs for each target, not thousands.
const leastSet = ['-set_cover_merge=1', '-use_counters=0']

/** Takes over what reaches code that the kept inputs do not. */
async function merge(name) {
  const { kept, found } = corpus(name)
  const code = await lines(binary(name), [...leastSet, ...LIMITS, kept, found], () => {})
  if (code !== 0) throw new Failure(`merging the inputs of ${name} failed (exit code ${code})`)
}

/** Runs a fuzzer, which talks on stderr. */
function lines(command, args, onLine) {
  return new Promise((resolve, reject) => {
    const asan = { ASAN_OPTIONS: 'detect_odr_violation=0' }
    const stdio = ['ignore', 'ignore', 'pipe']
    const child = track(spawn(command, args, { cwd: root, env: { ...env, ...asan }, stdio }))
    createInterface({ input: child.stderr }).on('line', onLine)
    child.on('error', reject)
    child.on('close', (code) => resolve(code ?? 1))
  })
}

await program(import.meta.url, main)
