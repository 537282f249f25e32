// Programs that a measurement runs beside its own processes, and what they cost. None of them outlives it.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { findProgram } from '../../scripts/support.mjs'

const role = fileURLToPath(new URL('role.mjs', import.meta.url))
/** How long a program gets to be ready. */
const LIMIT = 15_000

/**
 * Starts a program and resolves once `ready(line)` is something for a line it said, on stdout or stderr: to
 * `{ pid, ready, child, stop }`. Later lines are handed to `ready` as well, for who counts what a program tells. With `atOnce`
 * nothing needs to be said.
 */
export async function startProcess(command, args, { ready = () => true, env, stdin, atOnce } = {}) {
  const child = bound(command, args, {
    env: { ...process.env, ...env },
    stdio: [stdin ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  })
  const said = []
  const value = await new Promise((resolve, reject) => {
    const fail = (why) => reject(new Error(`${command} ${why}: ${said.slice(-5).join(' | ')}`))
    const timer = setTimeout(() => fail(`is not ready within ${LIMIT / 1000} s`), LIMIT)
    const onLine = (line) => {
      said.push(line)
      const found = ready(line)
      if (found === undefined || found === false) return
      clearTimeout(timer)
      resolve(found)
    }
    for (const stream of [child.stdout, child.stderr])
      createInterface({ input: stream }).on('line', onLine)
    child.on('error', reject)
    child.on('exit', (code, signal) => fail(`ended (${signal ?? code})`))
    if (atOnce) child.once('spawn', () => onLine(''))
  }).catch((error) => {
    child.kill('SIGKILL')
    throw error
  })
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  return { pid: child.pid, ready: value, child, stop }
}

/** Runs a program to its end and resolves to its stdout; rejects when it fails. */
export async function runProcess(command, args) {
  const child = bound(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const said = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr']) {
    child[name].setEncoding('utf8').on('data', (text) => {
      said[name] += text
    })
  }
  const [code, signal] = await once(child, 'close')
  if (code === 0) return said.stdout
  const what = `${command.split('/').at(-1)} ${args[0]}`
  throw new Error(`${what} ended (${signal ?? code}): ${said.stderr.trim()}`)
}

/** A child that the kernel ends with this process, however that ends. */
function bound(command, args, options) {
  const setpriv = findProgram('setpriv')
  if (!setpriv) return spawn(command, args, options)
  return spawn(setpriv, ['--pdeathsig', 'KILL', '--', command, ...args], options)
}

/** Starts `roles[name]` of a peer in a Node process of its own; `ready` is what it resolves to. */
export function startRole(peer, name, task) {
  const env = { ALKNET_ROLE: JSON.stringify({ peer, name, task }), NODE_ENV: 'production' }
  const ready = (line) => {
    try {
      return JSON.parse(line).ready
    } catch {
      return undefined
    }
  }
  return startProcess(process.execPath, [role], { env, ready })
}

/** These processes and all that they have started. */
export function withChildren(pids) {
  return pids.flatMap((pid) => [pid, ...withChildren(childrenOf(pid))])
}

function childrenOf(pid) {
  try {
    const tasks = fs.readdirSync(`/proc/${pid}/task`)
    return tasks.flatMap((task) => {
      const list = fs.readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim()
      return list === '' ? [] : list.split(' ').map(Number)
    })
  } catch {
    return [] // it has gone
  }
}

/** Proportional set size of these processes and all that they have started, in MiB: what they share is counted once. */
export function pssOf(pids) {
  return withChildren(pids).reduce((sum, pid) => {
    const text = fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
    return sum + Number(/^Pss:\s+(\d+)/m.exec(text)[1]) / 1024
  }, 0)
}
