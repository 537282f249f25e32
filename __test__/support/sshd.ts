import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { clientKey, hostKey, scratch } from './keys.js'
import { freePort } from './net.js'
import { peerPath } from './peers.js'
import { type Program, start } from './program.js'

/** A running OpenSSH server. */
export interface Sshd {
  /** `host:port`. */
  server: string
  port: number
  /** The only name that can log in: whoever runs the tests. */
  user: string
  program: Program
  /** Kills, as `kill -9` does, the processes that serve the open sessions. */
  killSessions(): void
}

function childrenOf(pid: number): number[] {
  try {
    const list = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
    return list === '' ? [] : list.split(' ').map(Number)
  } catch {
    return [] // It has gone by itself.
  }
}

function kill(pid: number): void {
  for (const child of childrenOf(pid)) kill(child)
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    // A process of a session may go by itself while its relatives are killed.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** Starts `sshd` on loopback with this file's keys; `lines` are added to its configuration. */
export async function startSshd(lines: readonly string[] = []): Promise<Sshd> {
  // Run by root, sshd refuses to start without this directory, which only its service unit makes.
  if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true })
  const { path } = await hostKey()
  const { publicPath } = await clientKey()
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort()
    const config = join(scratch(), `sshd_config.${port}`)
    writeFileSync(config, [...lines, ...baseConfig(port, path, publicPath), ''].join('\n'))
    const program = start(peerPath('sshd'), ['-D', '-e', '-f', config])
    try {
      await program.complains(/Server listening on/)
    } catch (error) {
      if (attempt < 5 && /Address already in use/.test(program.stderr)) continue
      throw error
    }
    const killSessions = () => childrenOf(program.pid).forEach(kill)
    return { server: `127.0.0.1:${port}`, port, user: userInfo().username, program, killSessions }
  }
}

// In sshd_config the first value of a keyword wins, so a test's own lines go before these.
function baseConfig(port: number, hostKeyPath: string, authorizedKeys: string): string[] {
  return [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${hostKeyPath}`,
    `AuthorizedKeysFile ${authorizedKeys}`,
    'PidFile none',
    'StrictModes no',
    'UsePAM no',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'AllowTcpForwarding yes',
    'LogLevel VERBOSE',
  ]
}
