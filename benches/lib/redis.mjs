// A Redis of our own: free port, loopback, nothing kept, ended by pid.
import { spawn } from 'node:child_process'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from './free-port.mjs'

const LIMIT = 5000

/** Starts `program`; resolves to its port and pid once it answers. */
export async function startRedis(program, cwd) {
  const port = await freePort()
  const options = {
    port,
    bind: '127.0.0.1',
    save: '',
    appendonly: 'no',
    // A subscriber that lags is measured, not cut off.
    'client-output-buffer-limit': 'pubsub 0 0 0',
  }
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, `${value}`])
  const child = spawn(program, args, { cwd, stdio: 'ignore' })
  child.on('error', () => {})
  if (!(await answers(port))) {
    child.kill('SIGKILL')
    throw new Error(`redis-server does not answer within ${LIMIT / 1000} s`)
  }
  return { port, pid: child.pid, stop: () => child.kill('SIGKILL') }
}

async function answers(port) {
  const deadline = Date.now() + LIMIT
  while (Date.now() < deadline) {
    if (await ping(port)) return true
    await sleep(50)
  }
  return false
}

function ping(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write('PING\r\n'))
    socket.setTimeout(500, () => socket.destroy())
    socket.on('error', () => {})
    socket.on('close', () => resolve(false))
    socket.once('data', (answer) => {
      resolve(answer.toString().startsWith('+PONG'))
      socket.destroy()
    })
  })
}
