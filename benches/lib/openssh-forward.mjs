// OpenSSH's `sshd` and `ssh -L`.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { findProgram } from '../../scripts/support.mjs'
import { forwarder } from './forwards.mjs'
import { freePort } from './free-port.mjs'
import { startProcess } from './processes.mjs'

/** Starts sshd on a free port of loopback; `settings` are more of its options. */
export async function startSshd({ hostKey, clientPublicKey }, settings = {}) {
  const port = await freePort()
  // Run by root, sshd wants this directory, which only its service unit makes.
  if (process.getuid() === 0) fs.mkdirSync('/run/sshd', { recursive: true })
  const all = {
    Port: port,
    ListenAddress: '127.0.0.1',
    HostKey: hostKey,
    AuthorizedKeysFile: clientPublicKey,
    PidFile: 'none',
    StrictModes: 'no',
    UsePAM: 'no',
    PasswordAuthentication: 'no',
    KbdInteractiveAuthentication: 'no',
    ...settings,
  }
  const args = ['-D', '-e', '-f', '/dev/null', ...words(all)]
  const sshd = await startProcess(programPath('sshd'), args, {
    ready: (line) => /Server listening/.test(line),
  })
  return { ...sshd, port }
}

const words = (settings) =>
  Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])

function programPath(name) {
  const found = findProgram(name)
  if (!found) throw new Error(`${name} is not installed`)
  return found
}

/** Leads to `127.0.0.1:target`; `options` are those of ssh. */
export async function startOpenSsh(context, target, options = []) {
  const { hostKey, hostPublicKey, clientKey } = context
  const server = await startSshd(context)
  const local = await freePort()
  const known = path.join(path.dirname(hostKey), `known_hosts.${server.port}`)
  fs.writeFileSync(known, `[127.0.0.1]:${server.port} ${fs.readFileSync(hostPublicKey, 'utf8')}`)
  const own = words({ UserKnownHostsFile: known, BatchMode: 'yes', ExitOnForwardFailure: 'yes' })
  const forward = ['-v', '-N', '-L', `127.0.0.1:${local}:127.0.0.1:${target}`]
  const who = ['-i', clientKey, '-p', `${server.port}`, `${os.userInfo().username}@127.0.0.1`]
  const args = ['-F', 'none', ...own, ...options, ...forward, ...who]
  const client = await startProcess(programPath('ssh'), args, {
    ready: (line) => /Entering interactive session/.test(line),
  })
  return forwarder(local, server, client)
}
