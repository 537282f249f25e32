// What the metrics of forwards share: a target, a forwarder in front of it, and the load.
import { cpuOf, cpuOfEnded } from './probe.mjs'
import { runProcess, startProcess, withChildren } from './processes.mjs'

/** The side of the target: the load generator's other half, in a process of its own. */
export async function target({ context }) {
  const { ready } = await startProcess(context.load, ['target'], { ready: Number })
  return { address: ready, calls: {} }
}

/** Starts the forwarder of `kit`, does `work` with it, and ends it. */
export async function withForwarder({ peer, context, address }, work) {
  const forwarder = await peer.start(context, address)
  try {
    return await work(forwarder)
  } finally {
    await forwarder.stop()
  }
}

/** Runs the load generator; resolves to the numbers that it prints. */
export async function load({ context }, ...args) {
  const said = await runProcess(context.load, args.map(String))
  return said.trim().split(' ').map(Number)
}

/** CPU time in ms of all processes of a forwarder so far, those that have ended too: some have one for each connection. */
export function cpuTime({ pids }) {
  const ended = pids.reduce((sum, pid) => sum + cpuOfEnded(pid), 0)
  return withChildren(pids).reduce((sum, pid) => sum + living(pid), ended)
}

function living(pid) {
  try {
    return cpuOf(pid)
  } catch (error) {
    // It ended after it was listed. What it took is that of its parent next time.
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return 0
    throw error
  }
}

/** A forwarder made of several processes, in the order in which they were started. */
export function forwarder(port, ...processes) {
  return {
    port,
    pids: processes.map(({ pid }) => pid),
    async stop() {
      for (const { stop } of processes.reverse()) await stop()
    },
  }
}
