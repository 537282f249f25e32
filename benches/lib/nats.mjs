// A NATS of our own: free port, loopback, what it keeps in a directory that goes away, ended by pid.
import { spawn } from 'node:child_process'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { freePort } from './free-port.mjs'

/** The topic whose events buses on it keep. */
export const KEPT = 'kept'

/** Starts `program`; resolves to its address and pid once it answers. */
export async function startNats(program, directory) {
  const port = await freePort()
  const store = ['--jetstream', '--store_dir', path.join(directory, 'nats')]
  const args = ['--addr', '127.0.0.1', '--port', `${port}`, ...store]
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  child.on('error', () => {})
  for await (const line of createInterface({ input: child.stderr })) {
    if (line.includes('Server is ready')) break
  }
  child.stderr.resume()
  return { url: `nats://127.0.0.1:${port}`, pid: child.pid, stop: () => child.kill('SIGKILL') }
}
