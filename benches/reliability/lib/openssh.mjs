// OpenSSH on the other side, with new keys every so often.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import { Duplex } from 'node:stream'
import { findProgram } from '../../../scripts/support.mjs'
import { startSshd } from '../../lib/openssh-forward.mjs'
import { exchange } from './transfer.mjs'

/** A stream through `ssh -W` to the server that said `ready`. */
export async function viaSsh({ context }, { server }, rekey) {
  const [host, port] = server.split(':')
  const options = [
    'UserKnownHostsFile=/dev/null',
    'StrictHostKeyChecking=no',
    `RekeyLimit=${rekey}`,
  ]
  const args = [...options.flatMap((option) => ['-o', option]), '-q', '-F', 'none']
  args.push('-i', context.clientKey, '-p', port, '-W', 'alknet-control:1', `alknet@${host}`)
  const child = spawn(programPath('ssh'), args, { stdio: ['pipe', 'pipe', 'inherit'] })
  return {
    stream: Duplex.from({ writable: child.stdin, readable: child.stdout }),
    stop: () => child.kill(),
  }
}

/** An sshd that forwards to one end of a transfer. */
export async function viaSshd({ context }, rekey) {
  const listener = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port, stop } = await startSshd(context, { RekeyLimit: rekey })
  const hostKeys = fs.readFileSync(context.hostPublicKey, 'utf8').trim()
  return {
    ready: {
      server: `127.0.0.1:${port}`,
      hostKeys,
      user: os.userInfo().username,
      target: `127.0.0.1:${listener.address().port}`,
    },
    async exchange(plan) {
      const [socket] = await once(listener, 'connection')
      return await exchange(socket, 'server', plan)
    },
    stop() {
      listener.close()
      void stop()
    },
  }
}

function programPath(name) {
  const found = findProgram(name)
  if (!found) throw new Error(`${name} is not installed`)
  return found
}
