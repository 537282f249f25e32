import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AlknetServer } from '../../index.js'
import { clientKey, scratch } from './keys.js'
import { peerPath } from './peers.js'
import { type Program, start } from './program.js'

/** Starts OpenSSH's client against `server`, with its host key known and nothing read from the user's files. */
export async function startSsh(
  server: Pick<AlknetServer, 'addresses' | 'hostKey'>,
  args: readonly string[],
  more?: { command?: readonly string[]; identity?: string },
): Promise<Program> {
  const [host, port] = (server.addresses[0] ?? '').split(':')
  const knownHosts = join(scratch(), `known_hosts.${port}`)
  writeFileSync(knownHosts, `[${host}]:${port} ${server.hostKey}\n`)
  const settings = [
    'BatchMode=yes',
    'IdentitiesOnly=yes',
    'StrictHostKeyChecking=yes',
    `UserKnownHostsFile=${knownHosts}`,
    'GlobalKnownHostsFile=none',
  ].flatMap((setting) => ['-o', setting])
  const key = more?.identity ?? (await clientKey()).path
  const own = ['-F', 'none', '-p', `${port}`, '-i', key, ...settings]
  return start(peerPath('ssh'), [...own, ...args, `visitor@${host}`, ...(more?.command ?? [])], {
    lines: false,
  })
}
