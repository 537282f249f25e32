// Runs one script in a process of its own, with everything that it starts, for a bounded time.
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const child = fileURLToPath(new URL('kit.mjs', import.meta.url))

const running = new Set()
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))
process.once('exit', () => running.forEach(killGroup))

/** Tells of each figure; resolves to why the script failed, or to nothing. */
export function runScript({ seconds, ...task }, onFigure) {
  return new Promise((resolve) => {
    const env = { ...process.env, ALKNET_RELIABILITY: JSON.stringify(task), NODE_ENV: 'production' }
    // A process group: whatever becomes of the script, nothing that it started outlives it.
    const script = fork(child, [], { env, detached: true })
    running.add(script)
    let failed
    const timer = setTimeout(() => {
      failed = `not done within ${seconds} s`
      killGroup(script)
    }, seconds * 1000)
    script.on('message', ({ figure, failure }) => {
      if (figure) onFigure(figure)
      failed ??= failure
    })
    script.on('exit', (code, signal) => {
      clearTimeout(timer)
      killGroup(script)
      running.delete(script)
      resolve(failed ?? (code === 0 ? undefined : `the script ended with ${signal ?? code}`))
    })
  })
}

function killGroup({ pid }) {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // gone already
  }
}
