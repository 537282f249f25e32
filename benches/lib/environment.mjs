// What a figure depends on besides the code.
import { execFileSync, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import { root } from '../../scripts/support.mjs'
import { BORE_VERSION, DUMBPIPE_VERSION } from './programs.mjs'

const require = createRequire(import.meta.url)
const packages = ['ssh2', 'ws', 'ioredis', '@nats-io/transport-node', '@graphql-yoga/subscription']

export function describeMachine() {
  const cpus = os.cpus()
  return {
    cpu: `${cpus.length} × ${cpus[0]?.model.trim()}`,
    memory_GiB: Math.round(os.totalmem() / 2 ** 30),
    system: `${os.type()} ${os.release()}`,
    node: process.versions.node,
    openssl: process.versions.openssl,
    commit: commit(),
  }
}

/** Versions of the peers. */
export function peerVersions() {
  const manifest = (name) => new URL(`../node_modules/${name}/package.json`, import.meta.url)
  const versions = packages.map((name) => [name, require(manifest(name).pathname).version])
  return Object.fromEntries([...versions, ...programVersions()])
}

function programVersions() {
  const { error, stderr } = spawnSync('ssh', ['-V'], { encoding: 'utf8' })
  const ssh = /OpenSSH_(\S+?),? /.exec(error ? '' : stderr)?.[1]
  const compiled = [
    ['bore', BORE_VERSION],
    ['dumbpipe', DUMBPIPE_VERSION],
  ]
  return [...(ssh ? [['OpenSSH', ssh]] : []), ...compiled]
}

/** One-minute load average: what else the machine did. */
export function load() {
  return Number(fs.readFileSync('/proc/loadavg', 'utf8').split(' ')[0])
}

function commit() {
  const git = (...args) => execFileSync('git', args, { cwd: root, stdio: 'pipe' }).toString().trim()
  try {
    const changed = git('status', '--porcelain', 'src', 'binding', 'ts', 'benches')
    return git('rev-parse', '--short', 'HEAD') + (changed ? ' with changes' : '')
  } catch {
    return 'unknown'
  }
}
