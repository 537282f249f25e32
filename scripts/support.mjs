// What every script here needs: where things are, how a child is run, what is stale. No dependencies but Node itself, for
// these scripts run on a fresh clone, before `npm ci`.
import { execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
export const ci = Boolean(process.env.CI) && process.env.CI !== 'false'

const cacheHome = process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache')
/** What survives the checkout: compiled crates and the Python environment of a test peer. */
export const cacheDir = path.join(cacheHome, 'alknet')
const targetDir =
  process.env.ALKNET_TARGET_DIR || process.env.CARGO_TARGET_DIR || path.join(cacheDir, 'target')

/** The environment of every child. */
export const env = { ...process.env, CARGO_TARGET_DIR: path.resolve(root, targetDir) }
if (!process.stdout.isTTY) Object.assign(env, { NO_COLOR: '1', FORCE_COLOR: undefined })

/** Something went wrong that the user can read and mend: printed without a stack. */
export class Failure extends Error {}

export function say(text) {
  process.stdout.write(`alknet: ${text}\n`)
}

const children = new Set()
let stoppedBy

/** Has a child ended with this program. Every child is ended by its own id. */
export function track(child) {
  children.add(child)
  for (const end of ['error', 'close']) child.once(end, () => children.delete(child))
  return child
}

/**
 * Runs a command to its end. Its output goes to the terminal; `onLine` is shown each line of stdout as well. `quiet` keeps the
 * output back and shows it only when the command fails. Resolves to the exit code, rejects when the command cannot start.
 */
export function run(command, args, options = {}) {
  const { cwd = root, onLine, quiet = false } = options
  return new Promise((resolve, reject) => {
    const piped = quiet || onLine
    const stdio = ['ignore', piped ? 'pipe' : 'inherit', quiet ? 'pipe' : 'inherit']
    const child = track(spawn(command, args, { cwd, env: options.env ?? env, stdio }))
    const kept = []
    child.stderr?.on('data', (chunk) => kept.push(chunk))
    let rest = ''
    child.stdout?.on('data', (chunk) => {
      if (quiet) kept.push(chunk)
      else process.stdout.write(chunk)
      if (!onLine) return
      const lines = (rest + chunk).split('\n')
      rest = lines.pop()
      for (const line of lines) onLine(line)
    })
    child.on('error', reject)
    child.on('close', (code, signal) => {
      if (stoppedBy) reject(new Failure(`stopped by ${stoppedBy}`))
      if (rest) onLine?.(rest)
      if (quiet && code !== 0) process.stderr.write(Buffer.concat(kept))
      if (signal) process.stderr.write(`alknet: ${command} was ended by ${signal}\n`)
      resolve(code ?? 1)
    })
  })
}

/** Runs a command that must succeed. */
export async function must(command, args, options = {}) {
  const shown = [path.basename(command), ...args].join(' ')
  const code = await run(command, args, options).catch((error) => {
    if (error instanceof Failure) throw error
    throw new Failure(`cannot run ${command}: ${error.message}`)
  })
  if (code !== 0) throw new Failure(`${options.what ?? shown} failed (exit code ${code})`)
}

/** What a command prints, or undefined when it does not run or fails. */
export function output(command, args, options = {}) {
  return new Promise((resolve) => {
    execFile(command, args, { cwd: root, env, ...options }, (error, stdout) =>
      resolve(error ? undefined : stdout),
    )
  })
}

/** The path of a program, also in the places where servers live, or undefined. */
export function findProgram(name) {
  const places = [...(process.env.PATH ?? '').split(path.delimiter), '/usr/sbin', '/sbin']
  return places
    .filter(Boolean)
    .map((place) => path.join(place, name))
    .find((file) => fs.existsSync(file))
}

/** The program of an npm package, run by this very Node. */
export function bin(name) {
  const manifest = path.join(root, 'node_modules', name, 'package.json')
  const { bin: entry } = JSON.parse(fs.readFileSync(manifest, 'utf8'))
  const file =
    typeof entry === 'string' ? entry : (entry[path.basename(name)] ?? Object.values(entry)[0])
  return path.join(path.dirname(manifest), file)
}

/** Installs exactly what the lock file says, unless that is what is there. */
export async function ensureModules(directory = root) {
  const why = staleModules(directory)
  if (!why) return
  const where = path.relative(root, directory)
  say(`npm ci${where && ` in ${where}/`} (${why})`)
  const cli = process.env.npm_execpath
  const [command, first] = cli?.endsWith('.js') ? [process.execPath, [cli]] : ['npm', []]
  await must(command, [...first, 'ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: directory,
    what: 'npm ci',
  })
}

function staleModules(directory) {
  const wanted = readJson(path.join(directory, 'package-lock.json'))?.packages
  const found = readJson(path.join(directory, 'node_modules', '.package-lock.json'))?.packages
  if (!wanted) throw new Failure('package-lock.json is missing or broken')
  if (!found) return 'node_modules is missing'
  for (const [name, { version, optional }] of Object.entries(wanted)) {
    if (name === '' || (optional && !found[name])) continue
    if (found[name]?.version !== version) return `${name} is not what package-lock.json says`
  }
  return undefined
}

export function readJson(file) {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}

/** Sees that cargo works, and has all its calls build for the same named target: so does napi, and they share what is built. */
export async function ensureRust() {
  const cargo = await output('cargo', ['--version'])
  const rustc = await output('rustc', ['-vV'])
  const host = rustc?.match(/^host: (.+)$/m)?.[1]
  if (!cargo || !host) {
    throw new Failure(
      'cargo does not run: install Rust (rustup.rs); rust-toolchain.toml names the version',
    )
  }
  env.CARGO_BUILD_TARGET ||= host
}

/**
 * Does `work` unless it was done for the same inputs (by content) and its outputs are still there. `inputs` are files or
 * directories; `key` is whatever else decides.
 */
export async function onceFor({ name, inputs, outputs, key = '' }, work) {
  const stamp = path.join(root, 'node_modules', '.cache', 'alknet', name)
  const digest = createHash('sha256').update(key)
  for (const file of inputs.flatMap((input) => filesUnder(path.join(root, input)))) {
    digest.update(`\0${path.relative(root, file)}\0`).update(fs.readFileSync(file))
  }
  const now = digest.digest('hex')
  const there = outputs.every((output) => fs.existsSync(path.join(root, output)))
  if (there && fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === now) return
  fs.rmSync(stamp, { force: true })
  await work()
  fs.mkdirSync(path.dirname(stamp), { recursive: true })
  fs.writeFileSync(stamp, now)
}

function filesUnder(place) {
  const stat = fs.statSync(place, { throwIfNoEntry: false })
  if (!stat) return []
  if (!stat.isDirectory()) return [place]
  return fs
    .readdirSync(place)
    .sort()
    .flatMap((name) => filesUnder(path.join(place, name)))
}

/** Runs `work` if this file is the program; any failure becomes one line and exit code 1. */
export async function program(url, work) {
  if (!process.argv[1] || fs.realpathSync(process.argv[1]) !== fileURLToPath(url)) return
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => {
      stoppedBy = signal // a second one ends this process in the default way
      for (const child of children) child.kill(signal)
    })
  }
  const [major, minor] = process.versions.node.split('.').map(Number)
  try {
    if (major < 20 || (major === 20 && minor < 19)) {
      throw new Failure(`Node ${process.versions.node} is too old: 20.19 is the oldest that works`)
    }
    process.exitCode = (await work(process.argv.slice(2))) ?? 0
  } catch (error) {
    process.stderr.write(`alknet: ${error instanceof Failure ? error.message : error.stack}\n`)
    process.exitCode = 1
  }
}
