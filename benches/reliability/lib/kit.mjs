// The process of one script: gives it what it needs and passes its figures on.
import { fork, spawn } from 'node:child_process'
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { loadScript } from './list.mjs'
import { Random } from './random.mjs'

const endProgram = fileURLToPath(new URL('end.mjs', import.meta.url))

const task = JSON.parse(process.env.ALKNET_RELIABILITY)
const children = new Set()
try {
  const { script } = await loadScript(task.id)
  await script(makeKit())
} catch (error) {
  process.send({ failure: error?.stack ?? String(error) })
  process.exitCode = 1
} finally {
  for (const child of children) child.kill('SIGKILL')
  process.disconnect()
}

function makeKit() {
  const random = new Random(task.seed)
  return {
    ...task,
    random,
    /** Of two numbers, that of this run. */
    pick: (full, quick) => (task.quick ? quick : full),
    /** Tells of a figure: `{ name, what, value, unit, most | least }`. `name` is what known.mjs calls it. */
    figure: (figure) => process.send({ figure }),
    start,
    program,
  }
}

/**
 * Starts `ends[name]` of this script in a process of its own and resolves to it once it is ready:
 * `ready` is what it said, `call(name, ...args)` calls it, `probe()` looks at its memory, `exit` resolves when it has ended.
 */
async function start(name, args = {}, { env = {}, execArgv = [] } = {}) {
  const settings = JSON.stringify({ id: task.id, end: name, args, context: task.context })
  const child = fork(endProgram, [], {
    env: { ...process.env, ...env, ALKNET_END: settings },
    execArgv: ['--expose-gc', ...execArgv],
    serialization: 'advanced',
  })
  children.add(child)
  return await new Promise((resolve, reject) => {
    const end = makeEnd(name, child, reject)
    child.once('message', ({ ready, failed }) => {
      if (failed) reject(new Error(`${name}: ${failed}`))
      else resolve(Object.assign(end, { ready }))
    })
  })
}

function makeEnd(name, child, reject) {
  const waiting = new Map()
  let lastId = 0
  const fail = (error) => {
    reject(error)
    for (const { reject: refuse } of waiting.values()) refuse(error)
    waiting.clear()
  }
  child.on('message', ({ id, value, failed }) => {
    if (id === undefined) return failed && fail(new Error(`${name}: ${failed}`))
    const { resolve, reject: refuse } = waiting.get(id) ?? {}
    waiting.delete(id)
    if (failed) refuse?.(new Error(`${name}: ${failed}`))
    else resolve?.(value)
  })
  const exit = new Promise((resolve) => {
    child.on('exit', (code, signal) => {
      children.delete(child)
      fail(new Error(`${name} ended (${signal ?? code})`))
      resolve({ code, signal })
    })
  })
  const call = (what, ...args) =>
    new Promise((resolve, refuse) => {
      lastId += 1
      waiting.set(lastId, { resolve, reject: refuse })
      child.send({ id: lastId, call: what, args })
    })
  const stop = () => {
    child.kill('SIGKILL')
    return exit
  }
  return {
    pid: child.pid,
    call,
    exit,
    stop,
    child,
    probe: () => call('probe'),
    settled: settle(call),
  }
}

/** Probes until descriptors and threads are back to those of `base`, 5 s at most. */
function settle(call) {
  return async (base) => {
    for (let turn = 0; ; turn++) {
      const now = await call('probe')
      if (turn >= 25 || (now.fds <= base.fds && now.threads <= base.threads)) return now
      await sleep(200)
    }
  }
}

/** Runs a program to its end, `seconds` at most. Resolves to `{ code, signal, stdout, stderr }`. */
function program(command, args, { seconds = 60, env, input, onStart } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env: { ...process.env, ...env } })
    children.add(child)
    const timer = setTimeout(() => child.kill('SIGKILL'), seconds * 1000)
    const said = { stdout: '', stderr: '' }
    for (const name of ['stdout', 'stderr']) {
      child[name].setEncoding('utf8').on('data', (text) => {
        said[name] = (said[name] + text).slice(-100_000)
      })
    }
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      children.delete(child)
      resolve({ code, signal, ...said })
    })
    if (input === undefined) child.stdin.end()
    else child.stdin.end(input)
    onStart?.(child)
  })
}

export const exists = (file) => fs.existsSync(file)
