import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { connect as tcp } from 'node:net'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { discard } from './support/alknet.js'
import { text } from './support/bytes.js'
import { clientKey, hostKey, scratch } from './support/keys.js'
import { startEcho } from './support/net.js'
import { start } from './support/program.js'

const file = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url))
const alknet = file('native/alknet')

/** A user whose configuration file says this. */
function user(config: string) {
  const root = mkdtempSync(path.join(scratch(), 'config-'))
  const own = path.join(root, 'config.toml')
  writeFileSync(own, config)
  const env: NodeJS.ProcessEnv = {}
  for (const [name, value] of Object.entries(process.env)) {
    if (!name.startsWith('ALKNET_')) env[name] = value
  }
  env.ALKNET_HOME = root
  const run = (args: string[], more: NodeJS.ProcessEnv = {}) =>
    spawnSync(alknet, args, { env: { ...env, ...more }, encoding: 'utf8', input: '' })
  /** What `alknet config show` says of an option. */
  const value = (command: string, key: string, args: string[] = [], more = {}) => {
    const { stdout, stderr } = run(
      ['config', 'show', ...command.split(' '), '--json', ...args],
      more,
    )
    if (!stdout) throw new Error(stderr)
    const shown = Object.values(JSON.parse(stdout))[0] as Record<string, Shown>
    return shown[key]
  }
  return { root, own, env, run, value }
}

interface Shown {
  value: unknown
  origin: string
}

describe('an option’s value', () => {
  it('is that of a flag, a variable, the named file, the user’s file, in this order', () => {
    const { root, own, run, value } = user('[forward]\nlisten-port = 1111\n')
    const named = path.join(root, 'named.toml')
    writeFileSync(named, 'forward.listen-port = 2222\n')
    const port = (args: string[], more = {}) => value('forward start', 'listen-port', args, more)
    expect(user('').value('forward start', 'listen-port')).toEqual({
      value: 3845,
      origin: 'built-in',
    })
    expect(port([])).toEqual({ value: 1111, origin: `${own}: forward.listen-port` })
    const second = { value: 2222, origin: `${named}: forward.listen-port` }
    expect(port(['--config', named])).toEqual(second)
    expect(port([], { ALKNET_CONFIG: named })).toEqual(second)
    const variable = { ALKNET_FORWARDER_LISTEN_PORT: '0' }
    expect(port(['--config', named], variable)).toEqual({
      value: 0,
      origin: 'ALKNET_FORWARDER_LISTEN_PORT',
    })
    const started = run(['forward', 'start', '--listen-port', '0', '--name', 'x'])
    const { data } = JSON.parse(started.stdout).content[0]
    expect(data.listen_port).not.toBe(1111)
    expect(run(['forward', 'kill', 'x']).status).toBe(0)
  })

  it('may stand around the command’s table, and the table wins', () => {
    const { value } = user('trust = "first-use"\nkeepalive = 7\n[connect]\nkeepalive = 8\n')
    expect(value('connect', 'trust')?.value).toBe('first-use')
    expect(value('doctor', 'keepalive')?.value).toBe(7)
    expect(value('connect', 'keepalive')?.value).toBe(8)
  })

  it('satisfies an option that must be given, and a flag of the command line wins', async () => {
    const { path: key } = await hostKey()
    const { run } = user(`[serve]\nkey = ${JSON.stringify(key)}\nauthorized-keys = "/nowhere"\n`)
    const done = run(['serve', '--listen', '127.0.0.1:0'])
    expect(done).toMatchObject({ status: 8 })
    expect(done.stderr).toContain('/nowhere')
  })

  it('is shown as text too, with where it comes from', () => {
    const { run, own } = user('[serve]\nno-forwarding = true\n')
    const { stdout } = run(['config', 'show', 'serve', '--origin'])
    expect(stdout).toContain(`no-forwarding = true  # ${own}: serve.no-forwarding`)
    expect(stdout).toContain('max-auth-attempts = 6  # built-in')
  })

  it('is not shown where a password may be in it, however many there are', () => {
    const servers = ['a', 'b'].map((host) => `nats://u:hidden-word@${host}:4222`)
    const { run } = user(`[tunnel.host]\nregistry = ${JSON.stringify(servers)}\n`)
    const shown = run(['config', 'show', 'tunnel', 'host'])
    expect(shown.stdout).toContain('registry = "(not shown)"')
    const more = { ALKNET_TUNNEL_REGISTRY: servers[0] }
    for (const piece of ['host', 'runner']) {
      const help = run(['tunnel', piece, '--help'], more)
      expect(help.stdout).toContain('ALKNET_TUNNEL_REGISTRY')
      expect(help.stdout + shown.stdout).not.toContain('hidden-word')
    }
  })
})

describe('a configuration file', () => {
  it.each([
    ['a key that no option has', '[forward]\nlistenPort = 1\n', 'did you mean "listen-port"'],
    ['a table that no command has', '[forwards]\nx = 1\n', 'did you mean "forward"'],
    ['a list for one value', '[forward]\nlisten-port = [1]\n', 'takes one value'],
    ['a value that cannot be', '[forward]\nlisten-port = 70000\n', 'forward.listen-port'],
    ['what is no TOML', '[forward\n', 'line 1'],
    ['a unit without a command', '[up.x]\nserver = "h"\n', 'needs run'],
  ])('is refused with %s: exit code 8, and what is meant', (_what, config, said) => {
    const { run, own } = user(config)
    const done = run(['forward', 'start', '--name', 'never'])
    expect(done).toMatchObject({ status: 8, stdout: '' })
    expect(done.stderr).toContain(own)
    expect(done.stderr).toContain(said)
  })

  it('that was named has to be there', () => {
    const done = user('').run(['config', 'show', '--config', '/nowhere.toml'])
    expect(done).toMatchObject({ status: 8, stdout: '' })
    expect(done.stderr).toContain('ENOENT')
  })

  it('is described by docs/config.schema.json', () => {
    const { stdout } = user('').run(['config', 'schema'])
    const written = JSON.parse(readFileSync(file('docs/config.schema.json'), 'utf8'))
    const what = 'an option has changed: native/alknet config schema > docs/config.schema.json'
    expect(JSON.parse(stdout), what).toEqual(written)
  })
})

describe('alknet up', () => {
  it('runs what the file declares, and what it declares after a SIGHUP', async () => {
    const [one, two] = [await startEcho(), await startEcho()]
    const unit = (name: string, port: number) =>
      `[up.${name}]\nrun = "forward"\nlisten-port = 0\ntarget-port = ${port}\n`
    const keys = `key = ${JSON.stringify((await hostKey()).path)}
authorized-keys = ${JSON.stringify((await clientKey()).publicPath)}`
    const served = `[serve]\nenabled = true\nlisten = "127.0.0.1:0"\n${keys}\n`
    const { env, own } = user(served + unit('web', one.port))
    const program = start(alknet, ['up', '--json'], { env })
    const heard: Event[] = []
    const next = async (event: string, name: string) => {
      for (;;) {
        const at = heard.findIndex((e) => e.event === event && (e.unit ?? e.name) === name)
        if (at >= 0) return heard.splice(at, 1)[0] as Event
        heard.push(await program.json<Event>())
      }
    }
    const port = ({ addresses }: Event) => Number(addresses?.[0]?.split(':').at(-1))
    const through = async (port: number) => {
      const socket = discard(tcp(port, '127.0.0.1'))
      socket.end('through')
      return text(socket)
    }
    expect(await next('listening', 'serve')).toHaveProperty('hostKeyFingerprint')
    const before = await next('listening', 'web')
    expect(await through(port(before))).toBe('through')
    expect(await next('unit', 'web')).toMatchObject({ change: 'added' })
    writeFileSync(own, served + unit('other', two.port))
    program.kill('SIGHUP')
    expect(await next('unit', 'web')).toMatchObject({ change: 'removed' })
    expect(await next('unit', 'other')).toMatchObject({ change: 'added' })
    expect(await next('reloaded', 'serve')).toBeTruthy()
    expect(await through(port(await next('listening', 'other')))).toBe('through')
    expect(await next('ended', 'web')).toMatchObject({ exit: 0 })
    writeFileSync(own, 'nonsense')
    program.kill('SIGHUP')
    for (;;) {
      const said = await program.json<Event & { code: string }>()
      if (said.event === 'error') {
        expect(said.code).toBe('ERR_ALKNET_CONFIG')
        break
      }
    }
    program.kill('SIGTERM')
    expect(await program.exit).toMatchObject({ code: 0, signal: null })
  })

  it('runs [forward] when the file enables it, unless the environment does not', async () => {
    const says = (enabled: string) => `[forward]\nlisten-port = 0\n${enabled}`
    const listens = async (config: string, ALKNET_FORWARDER_ENABLED?: string) => {
      const { env } = user(config)
      const more = { ...env, ALKNET_FORWARDER_ENABLED }
      const program = start(alknet, ['up', '--json'], { env: more })
      const { event } = await program.json<Event>()
      program.kill('SIGTERM')
      await program.exit
      return event === 'unit'
    }
    expect(await listens(says('enabled = true'))).toBe(true)
    expect(await listens(says(''), 'true')).toBe(true)
    expect(await listens(says('enabled = true'), 'false')).toBe(false)
    expect(await listens(says(''))).toBe(false)
  })

  it('runs the pieces of a tunnel too', async () => {
    const registry = path.join(mkdtempSync(path.join(scratch(), 'registry-')), 'registry.json')
    writeFileSync(registry, '{"nodes":{},"tasks":{}}')
    const { env } = user(`[up.node]
run = "tunnel runner"
listen = "127.0.0.1:0"
[up.entry]
run = "tunnel host"
listen = "127.0.0.1:0"
ssh-listen = "none"
registry = ${JSON.stringify(registry)}
`)
    const program = start(alknet, ['up', '--json'], { env })
    const kinds = new Set<string | undefined>()
    while (!(kinds.has('runner') && kinds.has('host'))) {
      const { event, kind } = await program.json<Event & { kind?: string }>()
      if (event === 'listening') kinds.add(kind)
    }
    program.kill('SIGTERM')
    expect(await program.exit).toMatchObject({ code: 0, signal: null })
  })

  it('says so when there is nothing to run', () => {
    const done = user('[forward]\nlisten-port = 0\n').run(['up'])
    expect(done).toMatchObject({ status: 8, stdout: '' })
    expect(done.stderr).toContain('enabled = true')
  })
})

interface Event {
  event: string
  unit?: string
  name?: string
  change?: string
  addresses?: string[]
}
