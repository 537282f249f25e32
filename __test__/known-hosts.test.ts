import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import {
  type AlknetConnectOptions,
  AlknetError,
  type AlknetServer,
  connect,
  openSession,
} from '../index.js'
import { discard, reach, rejection, startServer } from './support/alknet.js'
import { afterwards, memo } from './support/cleanup.js'
import { clientKey, hostKey, makeKey, scratch, strangerKey } from './support/keys.js'
import { startTcp } from './support/net.js'
import { describeWith, peerPath } from './support/peers.js'
import { type Program, start } from './support/program.js'
import { type Sshd, startSshd } from './support/sshd.js'

const run = promisify(execFile)

/** The key alone, without its comment. */
const bare = (publicKey: string) => publicKey.split(' ').slice(0, 2).join(' ')
const hosts = memo(async () => bare((await hostKey()).publicKey))
const strangers = memo(async () => bare((await strangerKey()).publicKey))

function fresh(): string {
  return mkdtempSync(join(scratch(), 'hosts-'))
}

/** Writes a `known_hosts` file in a folder of its own. */
function file(text: string | Buffer): string {
  const path = join(fresh(), 'known_hosts')
  writeFileSync(path, text)
  return path
}

/** How `known_hosts` names `server`. */
function name(server: AlknetServer, host = '127.0.0.1'): string {
  return `[${host}]:${port(server)}`
}

function port(server: AlknetServer): string {
  return server.addresses[0]?.split(':').at(-1) ?? ''
}

/** All that is needed to reach `server` but its key. */
async function options(server: AlknetServer): Promise<AlknetConnectOptions & { server: string }> {
  const { hostKeys: _, ...rest } = await reach(server)
  return rest
}

/** A process of its own that opens `count` sessions at once and tells the code of each, or null. */
function sessions(count: number, options: AlknetConnectOptions, env?: NodeJS.ProcessEnv): Program {
  const args = [sessionsScript, `${count}`, JSON.stringify(options)]
  return start(process.execPath, args, { ...(env && { env }) })
}

const sessionsScript = fileURLToPath(new URL('support/children/sessions.mjs', import.meta.url))

/** Connects and closes, and tells how it went. */
async function attempt(options: AlknetConnectOptions): Promise<AlknetError | 'accepted'> {
  try {
    const session = await openSession(options)
    expect(session.hostKeyFingerprint).toMatch(/^SHA256:/)
    await session.close()
    return 'accepted'
  } catch (error) {
    expect(error).toBeInstanceOf(AlknetError)
    return error as AlknetError
  }
}

async function lookUp(server: AlknetServer, text: string, more?: AlknetConnectOptions) {
  return attempt({ ...(await options(server)), knownHosts: file(text), ...more })
}

const unknown = { code: 'ERR_ALKNET_HOST_KEY_UNKNOWN', phase: 'hostkey' }
const changed = { code: 'ERR_ALKNET_HOST_KEY_CHANGED', phase: 'hostkey' }
const revoked = { code: 'ERR_ALKNET_HOST_KEY_REVOKED', phase: 'hostkey' }

describe('a server', () => {
  it('is known by its name and port, as a pattern too', async () => {
    const [server, key, other] = [await startServer(), await hosts(), await strangers()]
    const own = name(server)
    for (const text of [
      `${own} ${key}\n`,
      `${own} ${key} whose key this is`,
      `example.org,${own},example.com ${key}\n`,
      `[127.0.?.*]:* ${key}\n`,
      `* ${key}\n`,
      `*,!example.org ${key}\n`,
      `# comment\r\n\r\n\t${own}\t${key.replace(' ', '\t')}\r\n`,
      `${own} ${other}\n${own} ${key}\n`,
      `127.0.0.1 ${key}\n`, // as ssh: whoever has the host's key is the host, on any port
      `127.0.0.1 ${other}\n${own} ${key}\n`,
    ]) {
      expect(await lookUp(server, text), text).toBe('accepted')
    }
  })

  it('is unknown under any other name, and shown', async () => {
    const [server, key, other] = [await startServer(), await hosts(), await strangers()]
    for (const text of [
      '',
      `[127.0.0.1]:1 ${key}\n`,
      `localhost ${key}\n${name(server, 'localhost')} ${key}\n`,
      `*,!${name(server)} ${key}\n`,
      `!${name(server)} ${key}\n`,
      `127.0.0.1 ${other}\n`,
      `#${name(server)} ${key}\n`,
    ]) {
      const error = await lookUp(server, text)
      const { fingerprint } = await hostKey()
      expect(error, text).toMatchObject({ ...unknown, fingerprint })
      expect((error as AlknetError).hint).toContain(`hostKeys: ${fingerprint}`)
    }
  })

  it('is looked up by the name that was typed, not by its address', async () => {
    const [server, key] = [await startServer(), await hosts()]
    const asTyped = { server: `LocalHost:${port(server)}` }
    const byAddress = `${name(server)} ${key}\n`
    expect(await lookUp(server, byAddress, asTyped)).toMatchObject(unknown)
    const byName = `${name(server, 'LOCALHOST')} ${key}\n`
    expect(await lookUp(server, byName, asTyped)).toBe('accepted')
  })

  it('is known from files, buffers and many of them; files that are not there are empty', async () => {
    const server = await startServer()
    const entry = `${name(server)} ${await hosts()}\n`
    const missing = join(scratch(), 'nothing', 'here')
    for (const knownHosts of [
      Buffer.from(entry),
      [missing, file('\n'), Buffer.from(entry)],
      [Buffer.from('# nobody\n'), file(entry)],
    ]) {
      expect(await attempt({ ...(await options(server)), knownHosts })).toBe('accepted')
    }
    for (const knownHosts of [missing, [], '/dev/null', Buffer.alloc(0)]) {
      expect(await attempt({ ...(await options(server)), knownHosts })).toMatchObject(unknown)
    }
  })

  it('is known from the files of ssh when nothing is said', async () => {
    const server = await startServer()
    const home = fresh()
    const ask = async () => sessions(1, await options(server), { HOME: home }).json()
    expect(await ask()).toEqual(['ERR_ALKNET_HOST_KEY_UNKNOWN'])
    expect(existsSync(join(home, '.ssh'))).toBe(false)
    mkdirSync(join(home, '.ssh'))
    writeFileSync(join(home, '.ssh', 'known_hosts'), `${name(server)} ${await hosts()}\n`)
    expect(await ask()).toEqual([null])
  })

  it('whose key is not the known one is refused, with the place and the way out', async () => {
    const server = await startServer()
    const path = file(`# one\n${name(server)} ${await strangers()}\n`)
    for (const trust of ['strict', 'first-use'] as const) {
      const error = await attempt({ ...(await options(server)), knownHosts: path, trust })
      expect(error).toMatchObject({ ...changed, fingerprint: (await hostKey()).fingerprint })
      const { message, hint } = error as AlknetError
      expect(message).toContain(`${path}:2 has ${(await strangerKey()).fingerprint}`)
      const command = /ssh-keygen -R .*$/.exec(hint ?? '')?.[0] ?? ''
      expect(command).toBe(`ssh-keygen -R '${name(server)}' -f '${path}'`)
      if (trust === 'first-use') await run('sh', ['-c', command])
    }
    expect(await attempt({ ...(await options(server)), knownHosts: path })).toMatchObject(unknown)
  })

  it('whose key is revoked is refused, whatever else speaks for it', async () => {
    const [server, key] = [await startServer(), await hosts()]
    const { fingerprint } = await hostKey()
    for (const who of ['*', name(server), '127.0.0.1']) {
      const text = `${name(server)} ${key}\n@revoked ${who} ${key}\n`
      for (const more of [{}, { trust: 'first-use' }, { hostKeys: fingerprint }] as const) {
        const error = await lookUp(server, text, more)
        expect(error).toMatchObject({ ...revoked, fingerprint })
        expect((error as AlknetError).message).toMatch(/known_hosts:2 marks as revoked/)
      }
    }
    expect(await lookUp(server, `@revoked example.org ${key}\n* ${key}`)).toBe('accepted')
    expect(await lookUp(server, `@revoked * ${await strangers()}\n* ${key}`)).toBe('accepted')
    expect(await lookUp(server, `@revoked * ${await strangers()}\n`)).toMatchObject(unknown)
  })

  it('that is pinned needs no entry, and one that is not is not saved by one', async () => {
    const [server, key] = [await startServer(), await hosts()]
    const wrong = `${name(server)} ${await strangers()}\n`
    const pinned = { hostKeys: (await hostKey()).fingerprint }
    expect(await lookUp(server, wrong, pinned)).toBe('accepted')
    const right = `${name(server)} ${key}\n`
    const other = { hostKeys: (await strangerKey()).publicKey, trust: 'first-use' } as const
    expect(await lookUp(server, right, other)).toMatchObject(changed)
  })

  it('of which only an authority is named is unknown, and told why', async () => {
    const [server, key] = [await startServer(), await hosts()]
    const line = `@cert-authority * ${key}\n`
    const error = await lookUp(server, line)
    expect(error).toMatchObject(unknown)
    expect((error as AlknetError).hint).toMatch(/known_hosts:1 names an authority/)
    expect(await lookUp(server, `${line}${name(server)} ${key}\n`)).toBe('accepted')
  })

  it('is found beside broken lines, which are told when it is not', async () => {
    const [server, key] = [await startServer(), await hosts()]
    const broken = [
      `${name(server)} ${key.slice(0, -8)}`,
      '@nonsense * ssh-ed25519 AAAA',
      'example.org',
      `|1|no|hash ${key}`,
      randomBytes(40).toString('latin1').replaceAll('\n', ' '),
    ]
    const error = await lookUp(server, `${broken.join('\n')}\n`)
    expect(error).toMatchObject(unknown)
    const { hint } = error as AlknetError
    expect(hint).toContain('known_hosts:1 was skipped: the key is')
    expect(hint).toContain('known_hosts:2 was skipped: an unknown marker')
    expect(await lookUp(server, `${broken.join('\n')}\n${name(server)} ${key}`)).toBe('accepted')
  })
})

describe('knownHosts that cannot be read', () => {
  it('are an error before anything is dialled', async () => {
    const peer = await startTcp()
    const base = { server: peer.server, identity: (await clientKey()).path }
    const pipe = join(fresh(), 'pipe')
    await run('mkfifo', [pipe])
    const large = file(Buffer.alloc(16 * 1024 * 1024 + 1, '#\n'))
    const secret = readFileSync((await hostKey()).path, 'utf8')
    for (const [knownHosts, code] of [
      [scratch(), 'EISDIR'],
      [pipe, 'ERR_ALKNET_CONFIG'],
      [large, 'ERR_ALKNET_CONFIG'],
      [`h ${await hosts()}`, 'ERR_INVALID_ARG_VALUE'],
      [secret, 'ERR_INVALID_ARG_VALUE'],
      [7 as unknown as string, 'ERR_INVALID_ARG_TYPE'],
      [[undefined as unknown as string], 'ERR_INVALID_ARG_TYPE'],
    ] as const) {
      expect(await rejection(connect({ ...base, knownHosts }))).toMatchObject({ code })
    }
    expect(peer.sockets.size).toBe(0)
  })
})

describe('a server met for the first time', () => {
  const firstUse = { trust: 'first-use' } as const

  it('is written down once, hashed, for its owner alone, and must keep its key', async () => {
    const server = await startServer()
    const folder = join(fresh(), 'new', '.ssh')
    const path = join(folder, 'known_hosts')
    const given = { ...(await options(server)), knownHosts: path }
    for (const more of [firstUse, firstUse, {}])
      expect(await attempt({ ...given, ...more })).toBe('accepted')
    const text = readFileSync(path, 'utf8')
    expect(text).toMatch(/^\|1\|[A-Za-z0-9+/=]{28}\|[A-Za-z0-9+/=]{28} ssh-ed25519 \S+\n$/)
    expect(text).toContain(await hosts())
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(statSync(folder).mode & 0o777).toBe(0o700)
    const { stdout } = await run('ssh-keygen', ['-F', name(server), '-f', path])
    expect(stdout).toContain('found: line 1')

    await server.close()
    const listen = given.server
    await startServer({ listen, hostKey: (await strangerKey()).path })
    expect(await attempt({ ...given, ...firstUse })).toMatchObject(changed)
    expect(readFileSync(path, 'utf8')).toBe(text)
  })

  it('leaves all that is in the file as it is', async () => {
    const server = await startServer()
    const before = Buffer.from('# caf\xe9\r\n\tnot a line\n\nexample.org ssh-dss AAAA', 'latin1')
    const path = file(before)
    const given = { ...(await options(server)), knownHosts: [path, Buffer.alloc(0)] }
    expect(await attempt({ ...given, ...firstUse })).toBe('accepted')
    const after = readFileSync(path)
    expect(after.subarray(0, before.length)).toEqual(before)
    expect(after.subarray(before.length).toString()).toMatch(/^\n\|1\|\S+ ssh-ed25519 \S+\n$/)
    expect(statSync(path).mode & 0o777).toBe(0o644)
  })

  it('is written through a link, also to a file that is not there yet', async () => {
    for (const content of ['', undefined]) {
      const server = await startServer()
      const [target, link] = [join(fresh(), 'target'), join(fresh(), 'link')]
      if (content !== undefined) writeFileSync(target, content)
      symlinkSync(target, link)
      const given = { ...(await options(server)), knownHosts: link }
      expect(await attempt({ ...given, ...firstUse })).toBe('accepted')
      expect(lstatSync(link).isSymbolicLink()).toBe(true)
      expect(readFileSync(target, 'utf8')).toContain(await hosts())
    }
  })

  it('is not trusted when there is nowhere to write to', async () => {
    const server = await startServer()
    for (const knownHosts of [Buffer.from('# me\n'), []]) {
      const given = { ...(await options(server)), knownHosts, ...firstUse }
      expect(await attempt(given)).toMatchObject({ code: 'ERR_ALKNET_CONFIG', phase: 'config' })
    }
    const connected = { count: 0 }
    server.on('connection', () => {
      connected.count += 1
    })
    for (const [knownHosts, code] of [
      [join(file(''), 'under', 'a', 'file'), 'ENOTDIR'],
      ['/dev/null', 'EINVAL'],
      ['/proc/known_hosts', 'ENOENT'],
    ] as const) {
      const error = await attempt({ ...(await options(server)), knownHosts, ...firstUse })
      expect(error, knownHosts).toMatchObject({ code, phase: 'hostkey' })
      expect((error as AlknetError).hint).toContain('first-use')
    }
    expect(connected.count).toBe(0)
  })

  it('is not trusted when the disk is full, and no half line stays behind', async () => {
    const server = await startServer()
    const before = `${'# '.padEnd(499, 'x')}\n`
    const path = file(before)
    const given = { ...(await options(server)), knownHosts: path, ...firstUse }
    // Files may not grow beyond 512 bytes there, of which the line fits 12.
    const limited = 'trap "" XFSZ; ulimit -f 1; exec "$@"'
    const args = ['-c', limited, 'sh', process.execPath, sessionsScript, '1', JSON.stringify(given)]
    expect(await start('sh', args).json()).toEqual(['EFBIG'])
    expect(readFileSync(path, 'utf8')).toBe(before)
  })

  it('is written once by many sessions of many processes', async () => {
    const server = await startServer({ limits: { maxUnauthenticatedPerSource: 32 } })
    const path = file('example.org ssh-ed25519 AAAA')
    const given = { ...(await options(server)), knownHosts: path, ...firstUse }
    const children = Array.from({ length: 4 }, () => sessions(5, given))
    for (const child of children) expect(await child.json()).toEqual(Array(5).fill(null))
    const { stdout } = await run('ssh-keygen', ['-F', name(server), '-f', path])
    expect(stdout.match(/ssh-ed25519/g)).toHaveLength(1)
    expect(readFileSync(path, 'utf8').split('\n')).toHaveLength(3)
  })

  it('waits until another program has let go of the file', async () => {
    const server = await startServer()
    const path = file('')
    const holder = start('flock', [path, 'sh', '-c', 'echo held; read release'])
    await holder.line()
    const given = { ...(await options(server)), knownHosts: path, ...firstUse }
    const pending = attempt(given)
    writeFileSync(path, `${name(server)} ${await strangers()}\n`)
    holder.stdin.end('\n')
    expect(await pending).toMatchObject(changed)
  })
})

describeWith('sshd', 'with OpenSSH', () => {
  const three = memo(async () => ({
    'ssh-ed25519': await hostKey(),
    'ecdsa-sha2-nistp384': await makeKey('ecdsa', ['-t', 'ecdsa', '-b', '384']),
    'ssh-rsa': await makeKey('rsa', ['-t', 'rsa', '-b', '2048']),
  }))

  /** A server with host keys of all three kinds. */
  async function startThree(): Promise<Sshd> {
    const { 'ecdsa-sha2-nistp384': ecdsa, 'ssh-rsa': rsa } = await three()
    return startSshd([`HostKey ${rsa.path}`, `HostKey ${ecdsa.path}`])
  }

  async function reachSshd({ server, user }: Sshd): Promise<AlknetConnectOptions> {
    return { server, user, identity: (await clientKey()).path }
  }

  async function keyscan(sshd: Sshd, args: string[] = []): Promise<string> {
    const ask = ['-p', `${sshd.port}`, ...args, '127.0.0.1']
    return (await run('ssh-keyscan', ask)).stdout
  }

  it('is asked for the key that is known, of whatever type', async () => {
    const sshd = await startThree()
    for (const { publicKey, fingerprint } of Object.values(await three())) {
      const entry = Buffer.from(`[127.0.0.1]:${sshd.port} ${publicKey}\n`)
      for (const known of [{ knownHosts: entry }, { hostKeys: publicKey }]) {
        const session = await openSession({ ...(await reachSshd(sshd)), ...known })
        expect(session.hostKeyFingerprint).toBe(fingerprint)
        await session.close()
      }
    }
  })

  it('is asked for the same key again after a loss, and refused once that is revoked', async () => {
    const sshd = await startThree()
    const { 'ssh-rsa': rsa } = await three()
    const entry = `[127.0.0.1]:${sshd.port} ${rsa.publicKey}\n`
    const knownHosts = file(entry)
    const pinned = { hostKeys: rsa.publicKey, knownHosts }
    for (const known of [{ knownHosts }, pinned]) {
      writeFileSync(knownHosts, entry)
      const session = await openSession({ ...(await reachSshd(sshd)), ...known })
      afterwards(() => session.close())
      const up = once(session, 'up')
      sshd.killSessions()
      await up
      expect(session.hostKeyFingerprint).toBe(rsa.fingerprint)
      writeFileSync(knownHosts, `@revoked * ${rsa.publicKey}\n`)
      const over = once(session, 'close')
      sshd.killSessions()
      expect(await over).toMatchObject([revoked])
    }
  })

  it('is known from what ssh-keyscan and ssh-keygen -H write', async () => {
    const sshd = await startThree()
    const scanned = await keyscan(sshd, ['-t', 'rsa,ed25519'])
    expect(scanned).toMatch(/ssh-rsa.*ssh-ed25519|ssh-ed25519.*ssh-rsa/s)
    const hashed = file(scanned)
    await run('ssh-keygen', ['-q', '-H', '-f', hashed])
    expect(readFileSync(hashed, 'utf8')).not.toContain('127.0.0.1')
    for (const knownHosts of [
      Buffer.from(scanned),
      hashed,
      Buffer.from(await keyscan(sshd, ['-H', '-t', 'ecdsa'])),
    ]) {
      expect(await attempt({ ...(await reachSshd(sshd)), knownHosts })).toBe('accepted')
    }
  })

  it('accepts from ssh what we wrote, and from us what ssh wrote', async () => {
    const sshd = await startThree()
    const ssh = async (knownHosts: string, checking: string) => {
      const settings = [
        'BatchMode=yes',
        'IdentitiesOnly=yes',
        `StrictHostKeyChecking=${checking}`,
        `UserKnownHostsFile=${knownHosts}`,
        'GlobalKnownHostsFile=none',
        'HashKnownHosts=yes',
      ].flatMap((setting) => ['-o', setting])
      const own = ['-F', 'none', '-p', `${sshd.port}`, '-i', (await clientKey()).path]
      return run(peerPath('ssh'), [...own, ...settings, `${sshd.user}@127.0.0.1`, 'echo in'])
    }
    const [ours, theirs] = [join(fresh(), 'ours'), join(fresh(), 'theirs')]
    const given = await reachSshd(sshd)
    expect(await attempt({ ...given, knownHosts: ours, trust: 'first-use' })).toBe('accepted')
    expect((await ssh(ours, 'yes')).stdout).toBe('in\n')
    expect((await ssh(theirs, 'accept-new')).stdout).toBe('in\n')
    expect(await attempt({ ...given, knownHosts: theirs })).toBe('accepted')
  })

  it('that has a host certificate too is known by either', async () => {
    const authority = await makeKey('authority')
    const certified = await makeKey('certified')
    const sign = ['-q', '-s', authority.path, '-I', 'host', '-h', '-n', '127.0.0.1']
    await run('ssh-keygen', [...sign, certified.publicPath])
    const certificate = certified.publicPath.replace(/\.pub$/, '-cert.pub')
    const sshd = await startSshd([`HostKey ${certified.path}`, `HostCertificate ${certificate}`])
    const own = `[127.0.0.1]:${sshd.port}`
    const given = { ...(await reachSshd(sshd)), hostKeys: certified.publicKey }
    const session = await openSession(given)
    expect(session.hostKeyFingerprint).toBe(certified.fingerprint)
    await session.close()
    const knownHosts = Buffer.from(`@cert-authority ${own} ${authority.publicKey}\n`)
    expect(await attempt({ ...(await reachSshd(sshd)), knownHosts })).toBe('accepted')
  })
})

it('the key is checked again on every connection', async () => {
  const server = await startServer()
  const path = file(`${name(server)} ${await hosts()}\n`)
  const given = { ...(await options(server)), knownHosts: path }
  discard(await connect(given))
  writeFileSync(path, `@revoked * ${await hosts()}\n`)
  expect(await attempt(given)).toMatchObject(revoked)
})
