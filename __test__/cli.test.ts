import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { connect as tcp } from 'node:net'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { connect } from '../index.js'
import { discard, rejection } from './support/alknet.js'
import { say, text } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { alknetProgram, plainEnv } from './support/cli.js'
import { clientKey, hostKey, scratch, strangerKey } from './support/keys.js'
import { freePort, startEcho } from './support/net.js'
import { describeWith } from './support/peers.js'
import { type Program, start } from './support/program.js'
import { throughSocks } from './support/proxy.js'
import { startSshd } from './support/sshd.js'

const bin = fileURLToPath(new URL('../bin/alknet.js', import.meta.url))

/** The two ways to have the command line: they must be one. */
const programs = [
  { name: 'the program', words: [alknetProgram] },
  { name: 'the bin of the package', words: [process.execPath, bin] },
] as const

for (const { name, words } of programs) {
  const [command, ...first] = words
  const alknet = (...args: string[]) =>
    spawnSync(command, [...first, ...args], { env: plainEnv, encoding: 'utf8', input: '' })
  const run = (...args: string[]): Program => start(command, [...first, ...args], { env: plainEnv })

  /** A server of ours for the client's key; what it printed first. */
  const serve = async (...args: string[]) => {
    const keys = [
      '--key',
      (await hostKey()).path,
      '--authorized-keys',
      (await clientKey()).publicPath,
    ]
    const program = run('serve', ...keys, '--listen', '127.0.0.1:0', '--json', ...args)
    const listening = await program.json<Listening>()
    return { program, ...listening }
  }

  describe(`${name}: alknet`, () => {
    it('says what it can do, on stdout, and what was wrong, on stderr', () => {
      const help = alknet('--help')
      expect(help).toMatchObject({ status: 0, stderr: '' })
      for (const word of ['connect', 'serve', 'keygen', 'Examples:', 'Exit codes:']) {
        expect(help.stdout).toContain(word)
      }
      const wrong = alknet('serve', '--kye', 'x')
      expect(wrong).toMatchObject({ status: 2, stdout: '' })
      expect(wrong.stderr).toContain("'--kye'")
      expect(alknet('--version').stdout).toMatch(/^alknet \d+\.\d+\.\d+/)
    })

    it('makes keys that OpenSSH takes, and never replaces one unasked', () => {
      const key = path.join(scratch(), `made-${path.basename(command)}`)
      const made = JSON.parse(alknet('keygen', key, '-C', 'of a test', '--json').stdout)
      expect(made).toMatchObject({ path: key, type: 'ED25519', comment: 'of a test' })
      expect(statSync(key).mode & 0o777).toBe(0o600)
      const listed = spawnSync('ssh-keygen', ['-lf', key], { encoding: 'utf8' }).stdout
      expect(listed).toContain(made.fingerprint)
      expect(alknet('fingerprint', key).stdout.trim()).toBe(listed.trim())
      const before = readFileSync(key)
      const again = alknet('keygen', key)
      expect(again).toMatchObject({ status: 8, stdout: '' })
      expect(again.stderr).toContain('--force')
      expect(readFileSync(key).equals(before)).toBe(true)
      expect(alknet('keygen', key, '--force').status).toBe(0)
      expect(readFileSync(key).equals(before)).toBe(false)
    })

    it('serves, prints where as JSON, and ends by a signal with 0', async () => {
      const { program, ...listening } = await serve()
      expect(listening).toMatchObject({ event: 'listening' })
      expect(listening.hostKeyFingerprint).toBe((await hostKey()).fingerprint)
      program.kill('SIGTERM')
      expect(await program.exit).toMatchObject({ code: 0, signal: null })
    })

    it('logs who came and never where to', async () => {
      const { program, connectionString } = await serve()
      const identity = (await clientKey()).path
      await rejection(connect(connectionString, { identity, target: 'secret.internal:5432' }))
      program.kill('SIGTERM')
      const { stderr } = await program.exit
      expect(stderr).toMatch(
        /INFO auth attempt remote_addr=127\.0\.0\.1 user=alknet key_fingerprint=SHA256:\S+ result="?accept/,
      )
      expect(stderr).not.toContain('secret.internal')
    })

    it('serves forwards both ways, within bounds', async () => {
      const echo = await startEcho()
      const { program, connectionString } = await serve('--allow-remote-forward')
      const client = run(
        'connect',
        ...[connectionString, '-i', (await clientKey()).path, '--json'],
        ...['-L', `127.0.0.1:0:127.0.0.1:${echo.port}`, '-R', `0:127.0.0.1:${echo.port}`],
      )
      const near = await client.json<Listening>()
      const far = await client.json<{ kind: string; port: number }>()
      expect(far).toMatchObject({ event: 'listening', kind: 'remote-forward' })
      const ports = [Number(near.addresses[0]?.split(':')[1]), far.port]
      for (const port of ports) {
        const socket = discard(tcp(port, '127.0.0.1'))
        socket.end('both ways')
        expect(await text(socket)).toBe('both ways')
      }
      client.kill('SIGTERM')
      expect(await client.exit).toMatchObject({ code: 0, signal: null })
      const denied = alknet(
        ...['connect', connectionString, '-i', (await clientKey()).path],
        ...['-W', '169.254.169.254:80'],
      )
      expect(denied).toMatchObject({ status: 6, stdout: '' })
      const control = alknet(
        ...['connect', connectionString, '-i', (await clientKey()).path, '-W', 'alknet-control'],
      )
      expect(control).toMatchObject({ status: 6, stdout: '' })
      program.kill('SIGTERM')
      expect((await program.exit).code).toBe(0)
    })

    it('serves nothing but log-ins when it is told so', async () => {
      const { connectionString } = await serve('--no-forwarding')
      const mine = [connectionString, '-i', (await clientKey()).path]
      expect(alknet('connect', ...mine, '-W', '127.0.0.1:1').status).toBe(6)
      const remote = alknet('connect', ...mine, '-R', '0:h:1', '-o', 'ExitOnForwardFailure=yes')
      expect(remote).toMatchObject({ status: 6, stdout: '' })
    })

    it('tells a server’s host key', async () => {
      const { addresses, hostKeyFingerprint } = await serve()
      const told = alknet('fingerprint', addresses[0] ?? '')
      expect(told).toMatchObject({ status: 0, stdout: `${hostKeyFingerprint}\n` })
    })

    it('finds out which step of a connection fails', async () => {
      const { connectionString, addresses } = await serve()
      const mine = ['-i', (await clientKey()).path]
      const fine = alknet('doctor', connectionString, ...mine)
      expect(fine).toMatchObject({ status: 0 })
      expect(fine.stdout.match(/^ok {3}/gm)).toHaveLength(6)
      const empty = ['--known-hosts', path.join(scratch(), 'none')]
      const steps = (result: ReturnType<typeof alknet>) => JSON.parse(result.stdout).steps.at(-1)
      const unknown = alknet('doctor', addresses[0] ?? '', ...mine, ...empty, '--json')
      expect(unknown.status).toBe(5)
      expect(steps(unknown)).toMatchObject({ step: 'hostkey', code: 'ERR_ALKNET_HOST_KEY_UNKNOWN' })
      const stranger = ['-i', (await strangerKey()).path]
      const refused = alknet('doctor', connectionString, ...stranger, '--json')
      expect(refused.status).toBe(4)
      expect(steps(refused)).toMatchObject({ step: 'auth', ok: false })
      const nobody = alknet('doctor', `127.0.0.1:${await freePort()}`, ...mine, '--json')
      expect(nobody.status).toBe(3)
      expect(steps(nobody)).toMatchObject({ step: 'tcp', code: 'ECONNREFUSED' })
    })

    it('tells a descriptor when it is ready, also what Node makes of a pipe', async () => {
      const keys = ['--key', (await hostKey()).path, '--authorized-keys']
      const listen = [(await clientKey()).publicPath, '--listen', '127.0.0.1:0', '--ready-fd', '3']
      const served = [...first, 'serve', ...keys, ...listen]
      const child = spawn(command, served, {
        env: plainEnv,
        stdio: ['pipe', 'ignore', 'ignore', 'pipe'],
      })
      afterwards(() => void child.kill('SIGKILL'))
      const [said] = await once(child.stdio[3] as Readable, 'data')
      expect(`${said}`).toBe('READY=1\n')
    })

    it.each(['bash', 'zsh', 'fish', 'man'])('prints what %s wants', (kind) => {
      const { status, stdout } = alknet('completion', kind)
      expect(status).toBe(0)
      expect(stdout).toContain('known')
    })

    it('has a short help, and one with everything', () => {
      const [short, whole] = ['-h', '--help'].map((word) => alknet('connect', word).stdout)
      for (const word of ['Server:', 'Forwards:', '--identity', 'Examples:']) {
        expect(short).toContain(word)
        expect(whole).toContain(word)
      }
      expect(short).not.toContain('--tls-min')
      expect(whole).toContain('--tls-min')
      expect(alknet('help', 'connect').stdout).toBe(whole)
    })

    it('says what went wrong by its code, and what helps in its own words', async () => {
      const { connectionString } = await serve()
      const [address = ''] = connectionString.replace('alknet://', '').split('?')
      const { status, stderr } = alknet(
        ...['connect', address, '-i', (await clientKey()).path, '--once', '--no-socks5'],
        ...['--known-hosts', path.join(scratch(), 'none')],
      )
      expect(status).toBe(5)
      expect(stderr).toMatch(/^error: .* \[ERR_ALKNET_HOST_KEY_UNKNOWN\]\n {2}.*--host-key.*\n$/)
      expect(stderr).toContain('--trust first-use')
      expect(stderr).not.toContain('hostKeys')
      const nobody = alknet('connect', `127.0.0.1:${await freePort()}`, '--once', '-i', 'no-key')
      expect(nobody.stderr).toMatch(/^error: open ENOENT no-key\n {2}there is no such file/)
    })

    it('tells with -v how a log-in goes, and never where', async () => {
      const { connectionString } = await serve()
      const { stderr } = alknet(
        ...['connect', connectionString, '-i', (await strangerKey()).path, '--once', '-v'],
      )
      for (const step of [
        'reached the server',
        'keys are exchanged',
        'the host key is',
        'logging in',
        'refused an offer',
      ]) {
        expect(stderr).toContain(step)
      }
    })

    it('refuses what cannot be: exit code 8, and what helps', () => {
      for (const args of [
        ['connect'],
        ['connect', 'h', '-o', 'Tunnel=yes'],
        ['connect', 'h', '-o', 'StrictHostKeyChecking=no'],
        ['serve', '--key', '/nowhere', '--authorized-keys', '/nowhere'],
      ]) {
        expect(alknet(...args), args.join(' ')).toMatchObject({ status: 8, stdout: '' })
      }
      expect(alknet('connect', 'h', '-L', 'nonsense').status).toBe(2)
    })
  })

  describeWith('sshd', `${name}: alknet connect at sshd`, () => {
    /** What reaches that sshd. */
    const to = async () => {
      const sshd = await startSshd()
      const known = ['--host-key', (await hostKey()).fingerprint, '-i', (await clientKey()).path]
      return { sshd, place: [sshd.server, '-l', sshd.user, ...known] }
    }

    it('forwards a port, prints which as JSON, and ends by a signal with 0', async () => {
      const echo = await startEcho()
      const { place } = await to()
      const program = run('connect', ...place, '-L', `127.0.0.1:0:127.0.0.1:${echo.port}`, '--json')
      const listening = await program.json<Listening>()
      expect(listening).toMatchObject({ event: 'listening', kind: 'forward' })
      expect(await program.json()).toMatchObject({ event: 'ready' })
      const [host, port] = listening.addresses[0]?.split(':') ?? []
      const socket = discard(tcp(Number(port), host))
      socket.end('there and back')
      expect(await text(socket)).toBe('there and back')
      program.kill('SIGINT')
      expect(await program.exit).toMatchObject({ code: 0, signal: null })
    })

    it('is a SOCKS5 proxy', async () => {
      const echo = await startEcho()
      const { place } = await to()
      const args = [...first, 'connect', ...place, '-D', '127.0.0.1:0', '--json']
      const program = start(command, args, { env: { ...plainEnv, ALKNET_NO_SOCKS5: 'false' } })
      const listening = await program.json<Listening>()
      expect(listening).toMatchObject({ event: 'listening', kind: 'socks5' })
      const port = Number(listening.addresses[0]?.split(':')[1])
      const socket = await throughSocks(port, echo.port)
      await say(socket, socket, 'through the proxy')
    })

    it('leads standard input and output to a target', async () => {
      const echo = await startEcho()
      const { place } = await to()
      const program = start(command, [...first, 'connect', ...place, '-W', echo.server], {
        env: plainEnv,
        lines: false,
      })
      program.stdin.end('through the pipe')
      const [said] = await once(program.stdout, 'data')
      expect(String(said)).toBe('through the pipe')
      expect(await program.exit).toMatchObject({ code: 0, stderr: '' })
    })

    it('says by its exit code that a target, a listener, a log-in failed', async () => {
      const { place } = await to()
      const closed = await freePort()
      const target = alknet('connect', ...place, '-W', `127.0.0.1:${closed}`)
      expect(target).toMatchObject({ status: 6, stdout: '' })
      expect(target.stderr).toContain('refused')
      const taken = (await startEcho()).port
      const bind = alknet('connect', ...place, '-L', `127.0.0.1:${taken}:h:1`)
      expect(bind).toMatchObject({ status: 6 })
      expect(bind.stderr).toContain('EADDRINUSE')
      const stranger = ['-i', (await strangerKey()).path, '--once']
      const own = place.filter((word, at) => word !== '-i' && place[at - 1] !== '-i')
      expect(alknet('connect', ...own, ...stranger)).toMatchObject({ status: 4 })
    })

    it('is a ProxyCommand for ssh', async () => {
      const inner = await startSshd()
      const { place } = await to()
      const proxy = [command, ...first, 'connect', ...place, '-W', '%h:%p'].join(' ')
      const known = path.join(scratch(), `known_hosts.${inner.port}`)
      writeFileSync(known, `[127.0.0.1]:${inner.port} ${(await hostKey()).publicKey}\n`)
      const settings = [`ProxyCommand=${proxy}`, 'BatchMode=yes', `UserKnownHostsFile=${known}`]
      const { stdout, status } = spawnSync(
        'ssh',
        [
          ...['-F', 'none', '-p', `${inner.port}`, '-i', (await clientKey()).path],
          ...settings.flatMap((setting) => ['-o', setting]),
          ...[`${inner.user}@127.0.0.1`, 'echo', 'arrived'],
        ],
        { encoding: 'utf8', env: plainEnv },
      )
      expect({ stdout, status }).toEqual({ stdout: 'arrived\n', status: 0 })
    })
  })
}

describe('the programs', () => {
  it('are there', () => {
    for (const { words } of programs) expect(existsSync(words.at(-1) ?? '')).toBe(true)
  })
})

interface Listening {
  event: string
  addresses: string[]
  hostKeyFingerprint: string
  connectionString: string
}
