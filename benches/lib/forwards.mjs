// What the metrics of forwards share: a target, a forwarder in front of it, and the load.
import { cpuOf } from './probe.mjs'
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

/** CPU time in ms of all processes of a forwarder so far. */
export function cpuTime({ pids }) {
  return withChildren(pids).reduce((sum, pid) => sum + cpuOf(pid), 0)
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
