/**
 * Forwarders in the background, as `alknet forward` has them: the same code, the same state.
 */
import type { AlknetForwarder, AlknetForwarderOptions, AlknetForwarders } from '../index.js'
import { doorbell } from './doorbell.js'
import { native } from './native.js'
import { settle } from './pending.js'
import { program } from './program.js'

export const forwarders: AlknetForwarders = {
  async start(options = {}) {
    const { signal } = options
    return shown((await run(['start', ...words(options)], signal)) as Item)
  },
  async list(options = {}) {
    const { items } = (await run(['status', ...check(options)])) as { items: Item[] }
    return items.map(shown).filter(({ status }) => status !== 'stopped')
  },
  async status(which, options = {}) {
    return shown((await run(['status', ...check(options), '--', `${which}`])) as Item)
  },
  async stop(which, { force = false } = {}) {
    await run(['stop', ...(force ? ['--force'] : []), '--', `${which}`])
  },
  async kill(which) {
    await run(['kill', '--', `${which}`])
  },
  async logs(which, { lines = 100 } = {}) {
    const told = (await run(['logs', `--lines=${lines}`, '--', `${which}`])) as { lines: string[] }
    return told.lines
  },
}

/** What the command line says of a forwarder. */
interface Item {
  status?: 'running' | 'stale' | 'stopped'
  id: string
  name?: string
  server?: string
  pid?: number
  listen_host: string
  listen_port: number | null
  target_host: string
  target_port: number
  started_at?: string
  uptime_seconds?: number
  log_file: string
  state_file: string
  connections?: { active: number; accepted: number; refused: number }
  bytes?: { up: number; down: number }
  last_error?: string | null
  target_reachable?: boolean | null
}

async function run(args: string[], signal?: AbortSignal): Promise<unknown> {
  const cli = new (native().NativeCli)(program())
  const start = () => cli.forwarders(doorbell(), ['alknet', 'forward', ...args])
  return JSON.parse(await settle(start, (text) => text, signal))
}

/** Options as those of the command line. */
function words(options: AlknetForwarderOptions): string[] {
  const said: string[] = []
  const say = (name: string, value: unknown) => {
    if (value === undefined) return
    if (typeof value === 'boolean') {
      if (value) said.push(`--${name}`)
    } else for (const one of [value].flat()) said.push(`--${name}=${one}`)
  }
  const seconds = (ms: number | undefined) => (ms === undefined ? ms : Math.ceil(ms / 1000))
  say('listen-host', options.listenHost)
  say('listen-port', options.listenPort)
  say('target-host', options.targetHost)
  say('target-port', options.targetPort)
  say('name', options.name)
  say('replace', options.replace)
  say('drain', seconds(options.drainTimeout))
  say('max-connections', options.maxConnections)
  say('idle-timeout', seconds(options.idleTimeout))
  say('server', options.server)
  say('user', options.user)
  say('identity', options.identity)
  say('passphrase-file', options.passphraseFile)
  say('host-key', options.hostKeys)
  say('known-hosts', options.knownHosts)
  say('connect-timeout', seconds(options.connectTimeout))
  return said
}

function check({ check = false }: { check?: boolean | undefined }): string[] {
  return check ? ['--check'] : []
}

function shown(item: Item): AlknetForwarder {
  const status = item.status === 'stale' ? 'dead' : (item.status ?? 'running')
  return {
    id: item.id,
    status,
    name: item.name,
    server: item.server,
    pid: item.pid,
    listenHost: item.listen_host,
    listenPort: item.listen_port ?? undefined,
    targetHost: item.target_host,
    targetPort: item.target_port,
    startedAt: item.started_at === undefined ? undefined : new Date(item.started_at),
    uptime: item.uptime_seconds === undefined ? undefined : item.uptime_seconds * 1000,
    logFile: item.log_file,
    stateFile: item.state_file,
    connections: item.connections,
    bytes: item.bytes,
    lastError: item.last_error ?? undefined,
    targetReachable: item.target_reachable ?? undefined,
  }
}
