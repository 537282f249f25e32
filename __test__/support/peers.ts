import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe } from 'vitest'
import { type Lack, leftOut } from './lacking.js'

/** Programs of others that suites talk to. */
export type Peer =
  | ('ssh' | 'sshd' | 'ssh-agent' | 'curl' | 'openssl' | 'asyncssh' | 'ssh-audit')
  | ('chromium' | 'socat' | 'proxychains4' | 'redis-server' | 'redis-cli')
  | (
      | 'microsocks'
      | 'nats-server'
      | 'nginx'
      | 'nmap'
      | 'pebble'
      | 'pebble-challtestsrv'
      | 'tinyproxy'
      | 'fail2ban-regex'
      | 'faketime'
      | 'iroh-pipe'
      | 'iroh-relay'
    )

/** Python of a virtual environment with asyncssh: `ALKNET_PYTHON`, or the one in the cache directory. */
function python(): string {
  return process.env.ALKNET_PYTHON ?? join(cache(), 'venv', 'bin', 'python')
}

function cache(): string {
  return join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'alknet')
}

function inPath(program: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/usr/local/sbin', '/sbin']
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path))
}

/** Path of the program (for asyncssh: of its Python), or nothing when this machine lacks it. */
export function findPeer(peer: Peer): string | undefined {
  if (peer === 'ssh-audit') {
    const path = join(cache(), 'venv-ssh-audit', 'bin', 'ssh-audit')
    return existsSync(path) ? path : inPath(peer)
  }
  if (peer === 'iroh-pipe') {
    const path = fileURLToPath(new URL(`../../native/${peer}`, import.meta.url))
    return existsSync(path) ? path : undefined
  }
  if (peer === 'iroh-relay') {
    const home = existsSync(cache()) ? cache() : '.'
    const folder = readdirSync(home).find((name) => name.startsWith('iroh-relay-')) ?? 'none'
    const path = join(home, folder, 'bin', peer)
    return existsSync(path) ? path : inPath(peer)
  }
  if (peer !== 'asyncssh') return inPath(peer)
  const path = python()
  return spawnSync(path, ['-c', 'import asyncssh']).status === 0 ? path : undefined
}

/** Path of a peer that {@link describeWith} has found before. */
export function peerPath(peer: Peer): string {
  const path = findPeer(peer)
  if (path === undefined) throw new Error(`${peer} is not on this machine`)
  return path
}

/** What is lacking without the peer. */
export function lackOfPeer(peer: Peer): Lack | undefined {
  return findPeer(peer) === undefined ? { of: peer } : undefined
}

/** `describe` that is left out without the peer: see {@link leftOut}. */
export function describeWith(peer: Peer, name: string, body: () => void): void {
  describe.skipIf(leftOut(name, lackOfPeer(peer)))(name, body)
}
