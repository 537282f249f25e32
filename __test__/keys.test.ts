import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  type AlknetConnectOptions,
  type AlknetError,
  type AlknetKeyInfo,
  type AlknetPassphrase,
  type AlknetServeOptions,
  connect,
  openSession,
} from '../index.js'
import {
  closing,
  discard,
  nextConnection,
  reach,
  rejection,
  sink,
  startServer,
} from './support/alknet.js'
import { say } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { clientKey, hostKey, type KeyPair, makeKey, scratch } from './support/keys.js'
import { startEcho, startTcp } from './support/net.js'
import { describeWith } from './support/peers.js'
import { startSsh } from './support/ssh.js'
import { startSshd } from './support/sshd.js'

const PASSPHRASE = 'correct horse — battery staple'

/** Every kind of key that may log in, made once. */
const KINDS: [string, string[]][] = [
  ['Ed25519', ['-t', 'ed25519']],
  ['ECDSA 256', ['-t', 'ecdsa', '-b', '256']],
  ['ECDSA 384', ['-t', 'ecdsa', '-b', '384']],
  ['ECDSA 521', ['-t', 'ecdsa', '-b', '521']],
  ['RSA 2048', ['-t', 'rsa', '-b', '2048']],
  ['RSA 4096', ['-t', 'rsa', '-b', '4096']],
]
const made = new Map<string, Promise<KeyPair>>()

function keyOf(name: string, args: string[]): Promise<KeyPair> {
  const found = made.get(name) ?? makeKey(name.replaceAll(' ', '-'), args)
  made.set(name, found)
  return found
}

/** A copy of a key with {@link PASSPHRASE} on it. */
async function locked(name: string, key: KeyPair, ...args: string[]): Promise<string> {
  const path = join(scratch(), name)
  copyFileSync(key.path, path)
  chmodSync(path, 0o600)
  // One round: how long it takes is not the question here.
  const all = ['-q', '-p', '-a', '1', '-P', '', '-N', PASSPHRASE, ...args, '-f', path]
  execFileSync('ssh-keygen', all)
  return path
}

function file(name: string, text: string, mode = 0o600): string {
  const path = join(scratch(), name)
  writeFileSync(path, text)
  chmodSync(path, mode)
  return path
}

/** Logs in and opens one stream. */
async function logIn(server: Awaited<ReturnType<typeof startServer>>, more?: AlknetConnectOptions) {
  const accepted = nextConnection(server)
  const client = discard(await connect({ ...(await reach(server)), ...more }))
  return { client, ...(await accepted) }
}

describe('every kind of key', () => {
  it.each(KINDS)('logs in at our server and at OpenSSH’s: %s', async (name, args) => {
    const key = await keyOf(name, args)
    const server = await startServer({ authorizedKeys: key.publicPath })
    const { client, stream, info } = await logIn(server, { identity: key.path })
    expect(info.keyFingerprint).toBe(key.fingerprint)
    await say(client, stream, name)
  })

  it.each(KINDS.filter(([name]) => name !== 'RSA 2048'))(
    'is a host key: %s',
    async (name, args) => {
      const key = await keyOf(name, args)
      const server = await startServer({ hostKey: key.path })
      expect(server.hostKeyFingerprint).toBe(key.fingerprint)
      const { client, stream } = await logIn(server)
      await say(client, stream, name)
    },
  )

  it.each([
    ['identity', 1024, '2048'],
    ['hostKey', 2048, '3072'],
  ])('of RSA that is too short is refused as %s', async (option, bits, least) => {
    const { path } = await keyOf(`RSA ${bits}`, ['-t', 'rsa', '-b', `${bits}`])
    const server = await startServer()
    const attempt =
      option === 'identity'
        ? connect({ ...(await reach(server)), identity: path })
        : startServer({ hostKey: path })
    expect(await rejection(attempt)).toMatchObject({
      code: 'ERR_ALKNET_KEY_INVALID',
      message: expect.stringContaining(`${least} to 8192 bits, this one has ${bits}`),
    })
  })
})

describeWith('sshd', 'every kind of key at OpenSSH’s server', () => {
  it.each(KINDS)('logs in: %s', async (name, args) => {
    const key = await keyOf(name, args)
    const sshd = await startSshd([`AuthorizedKeysFile ${key.publicPath}`])
    const echo = await startEcho()
    const options = { server: sshd.server, user: sshd.user, target: echo.server }
    const hostKeys = (await hostKey()).fingerprint
    const client = discard(await connect({ ...options, hostKeys, identity: key.path }))
    await say(client, client, name)
  })

  it('RSA signs with SHA-2 even where only SHA-1 is accepted', async () => {
    const key = await keyOf('RSA 2048', ['-t', 'rsa', '-b', '2048'])
    const sshd = await startSshd([
      `AuthorizedKeysFile ${key.publicPath}`,
      'PubkeyAcceptedAlgorithms ssh-rsa',
    ])
    const hostKeys = (await hostKey()).fingerprint
    const options = { server: sshd.server, user: sshd.user, hostKeys, identity: key.path }
    expect(await rejection(openSession(options))).toMatchObject({
      code: 'ERR_ALKNET_AUTH_REJECTED',
    })
    await sshd.program.complains(/algorithm rsa-sha2-\d+ not in PubkeyAcceptedAlgorithms/)
  })
})

describeWith('ssh', 'every kind of key of OpenSSH’s client', () => {
  it.each(KINDS)('logs in at our server: %s', async (name, args) => {
    const key = await keyOf(name, args)
    const server = await startServer({ authorizedKeys: key.publicPath })
    const accepted = nextConnection(server)
    await startSsh(server, ['-W', 'alknet-control:1'], { identity: key.path })
    expect((await accepted).info.keyFingerprint).toBe(key.fingerprint)
  })

  it('is refused by RSA with SHA-1', async () => {
    const key = await keyOf('RSA 2048', ['-t', 'rsa', '-b', '2048'])
    const server = await startServer({ authorizedKeys: key.publicPath })
    const legacy = ['-o', 'PubkeyAcceptedAlgorithms=ssh-rsa', '-W', 'alknet-control:1']
    const { code, stderr } = await (await startSsh(server, legacy, { identity: key.path })).exit
    expect({ code, told: /Permission denied|no mutual signature/.test(stderr) }).toEqual({
      code: 255,
      told: true,
    })
  })

  it('sees our host key of each kind', async () => {
    for (const [name, args] of KINDS.filter(([name]) => name !== 'RSA 2048')) {
      const server = await startServer({ hostKey: (await keyOf(name, args)).path })
      const accepted = nextConnection(server)
      await startSsh(server, ['-W', 'alknet-control:1'])
      await accepted
    }
  })
})

describe('a passphrase', () => {
  const key = async () => locked('locked', await clientKey())

  it.each<[string, AlknetPassphrase]>([
    ['a string', PASSPHRASE],
    ['a Buffer', Buffer.from(PASSPHRASE)],
    ['a function', () => PASSPHRASE],
    ['a promise', async () => Buffer.from(PASSPHRASE)],
  ])('opens an identity as %s', async (_how, passphrase) => {
    const server = await startServer()
    const { client, stream } = await logIn(server, { identity: await key(), passphrase })
    await say(client, stream, 'unlocked')
  })

  it.each(['aes256-ctr', 'aes256-cbc', 'aes128-gcm@openssh.com', 'aes256-gcm@openssh.com'])(
    'opens a host key under %s',
    async (cipher) => {
      const path = await locked(`host-${cipher}`, await hostKey(), '-Z', cipher)
      const server = await startServer({ hostKey: path, hostKeyPassphrase: PASSPHRASE })
      expect(server.hostKeyFingerprint).toBe((await hostKey()).fingerprint)
    },
  )

  it('is asked for once, only for an encrypted key, with what the key says of itself', async () => {
    const server = await startServer()
    const asked: AlknetKeyInfo[] = []
    const passphrase = (info: AlknetKeyInfo) => {
      asked.push(info)
      return PASSPHRASE
    }
    await logIn(server, { passphrase })
    expect(asked).toEqual([])
    const { fingerprint } = await clientKey()
    const path = await key()
    await logIn(server, { identity: path, passphrase })
    expect(asked).toEqual([{ path, fingerprint, algorithm: 'ssh-ed25519' }])
    await logIn(server, { identity: readFileSync(path), passphrase })
    expect(asked[1]).toEqual({ fingerprint, algorithm: 'ssh-ed25519' })
    const session = await openSession({ ...(await reach(server)), identity: path, passphrase })
    await session.close()
    expect(asked.length).toBe(3)
    const locked = { hostKey: path, hostKeyPassphrase: passphrase }
    expect((await startServer(locked)).hostKeyFingerprint).toBe(fingerprint)
  })

  it.each<[string, AlknetConnectOptions['passphrase'], RegExp]>([
    ['missing', undefined, /encrypted, and no passphrase/],
    ['wrong', 'wrong horse', /passphrase is wrong/],
    ['empty', '', /passphrase is wrong/],
  ])('that is %s is an invalid key, with a hint', async (_what, passphrase, message) => {
    const peer = await startTcp()
    const identity = await key()
    const options = {
      server: peer.server,
      identity,
      ...(passphrase !== undefined && { passphrase }),
    }
    const error = await rejection(connect(options))
    expect(error).toMatchObject({
      code: 'ERR_ALKNET_KEY_INVALID',
      phase: 'config',
      message: expect.stringMatching(message),
      hint: expect.stringMatching(/passphrase|ssh-keygen/),
    })
    expect(peer.sockets.size).toBe(0)
  })

  it('that cannot be had rejects with the reason, or with the abort', async () => {
    const server = await startServer()
    const options = { ...(await reach(server)), identity: await key() }
    const reason = new Error('nobody is there')
    const failing = connect({ ...options, passphrase: () => Promise.reject(reason) })
    expect(await rejection(failing)).toBe(reason)
    const wrong = connect({ ...options, passphrase: (() => 7) as never })
    expect(await rejection(wrong)).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' })
    expect(await rejection(connect({ ...options, passphrase: 7 as never }))).toMatchObject({
      code: 'ERR_INVALID_ARG_TYPE',
    })
    const abort = new AbortController()
    const waiting = connect({
      ...options,
      signal: abort.signal,
      passphrase: () => {
        abort.abort()
        return new Promise(() => {})
      },
    })
    expect(await rejection(waiting)).toMatchObject({ name: 'AbortError' })
  })

  it('of a caller’s Buffer stays as it is', async () => {
    const passphrase = Buffer.from(PASSPHRASE)
    await logIn(await startServer(), { identity: await key(), passphrase })
    expect(passphrase.toString()).toBe(PASSPHRASE)
  })
})

describe('what is no private key', () => {
  it.each<[string, (key: KeyPair) => string, RegExp]>([
    ['a public key', (key) => key.publicKey, /public key; the private key is needed/],
    [
      'a PuTTY key',
      () => 'PuTTY-User-Key-File-3: ssh-ed25519\n',
      /puttygen '?.*private-openssh-new/,
    ],
    ['PKCS#1', () => '-----BEGIN RSA PRIVATE KEY-----\n', /ssh-keygen -p -f /],
    ['PKCS#8', () => '-----BEGIN PRIVATE KEY-----\n', /ssh-keygen -p -f /],
    ['encrypted PKCS#8', () => '-----BEGIN ENCRYPTED PRIVATE KEY-----\n', /ssh-keygen -p -f /],
    ['SEC1', () => '-----BEGIN EC PRIVATE KEY-----\n', /ssh-keygen -p -f /],
    ['a damaged key', (key) => readFileSync(key.path, 'utf8').slice(0, 200), /damaged/],
    ['nothing', () => '', /not an OpenSSH private key/],
  ])('is named, with what to do: %s', async (name, text, told) => {
    const path = file(`not ${name.replace('#', '')}`, text(await clientKey()))
    const attempts = [
      connect({ server: '127.0.0.1:1', identity: path }),
      connect({ server: '127.0.0.1:1', identity: readFileSync(path) }),
      startServer({ hostKey: path }),
    ]
    for (const error of await Promise.all(attempts.map(rejection))) {
      expect(error).toMatchObject({ code: 'ERR_ALKNET_KEY_INVALID' })
      const { message, hint } = error as AlknetError
      expect(`${message} ${hint}`).toMatch(told)
    }
  })

  it('has a command with the path quoted', async () => {
    const identity = file("it's PEM", '-----BEGIN PRIVATE KEY-----\n')
    const error = await rejection(connect({ server: '127.0.0.1:1', identity }))
    const quoted = `'${identity.replace("'", "'\\''")}'`
    expect(error).toMatchObject({ hint: expect.stringContaining(`ssh-keygen -p -f ${quoted}`) })
  })

  it('and a private key is no authorized_keys', async () => {
    const { path } = await clientKey()
    for (const authorizedKeys of [path, readFileSync(path)]) {
      const error = await rejection(startServer({ authorizedKeys }))
      expect(error).toMatchObject({
        code: 'ERR_ALKNET_KEY_INVALID',
        message: expect.stringContaining('private key'),
        hint: expect.stringContaining('.pub'),
      })
    }
  })
})

/** Somebody else's user id, which only root can give a file. */
const STRANGER = 65_534
const isRoot = process.getuid?.() === 0

describe('a file of a secret', () => {
  const copy = async (name: string, mode: number) => {
    const path = join(scratch(), name)
    copyFileSync((await clientKey()).path, path)
    chmodSync(path, mode)
    return path
  }

  async function outcomes(path: string, more?: AlknetConnectOptions & AlknetServeOptions) {
    const server = await startServer()
    const options = { ...(await reach(server)), identity: path, ...more }
    const logIn = connect(options).then((stream) => discard(stream).destroy())
    const serve = startServer({ hostKey: path, ...more })
    return Promise.allSettled([logIn, serve])
  }

  async function refusals(
    path: string,
  ): Promise<{ code: string; message: string; hint?: string }[]> {
    const settled = await outcomes(path)
    return settled.map((result) => {
      if (result.status === 'fulfilled') throw new Error(`${path} was taken`)
      expect(result.reason.message).toContain(path)
      return result.reason
    })
  }

  it.each([0o644, 0o640, 0o660, 0o604, 0o601])(
    'that others may use is refused: %o',
    async (mode) => {
      const path = await copy(`mode-${mode.toString(8)}`, mode)
      for (const error of await refusals(path)) {
        expect(error).toMatchObject({ code: 'ERR_ALKNET_KEY_INVALID', hint: `chmod 600 ${path}` })
      }
      const taken = await outcomes(path, { insecurePermissions: true })
      expect(taken.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled'])
    },
  )

  it.each([0o600, 0o400, 0o700])('that is one’s own is taken: %o', async (mode) => {
    const taken = await outcomes(await copy(`own-${mode.toString(8)}`, mode))
    expect(taken.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled'])
  })

  it.runIf(isRoot)('that belongs to another is refused', async () => {
    const path = await copy('foreign', 0o600)
    chownSync(path, STRANGER, STRANGER)
    for (const error of await refusals(path)) {
      expect(error).toMatchObject({
        code: 'ERR_ALKNET_KEY_INVALID',
        message: expect.stringContaining(`belongs to user ${STRANGER}`),
        hint: `chown 0 ${path}`,
      })
    }
    const taken = await outcomes(path, { insecurePermissions: true })
    expect(taken.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled'])
  })

  it('is judged by what a link leads to', async () => {
    const [good, bad] = [join(scratch(), 'good-link'), join(scratch(), 'bad-link')]
    symlinkSync(await copy('linked', 0o600), good)
    symlinkSync(await copy('linked-open', 0o644), bad)
    const taken = await outcomes(good)
    expect(taken.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled'])
    for (const error of await refusals(bad)) expect(error.code).toBe('ERR_ALKNET_KEY_INVALID')
  })

  it.each<[string, (path: string) => unknown]>([
    ['a directory', (path) => mkdirSync(path)],
    ['a pipe', (path) => execFileSync('mkfifo', ['-m', '600', path])],
    ['a device', (path) => symlinkSync('/dev/zero', path)],
    [
      'a socket',
      (path) =>
        new Promise<void>((resolve) => {
          const server = createServer().listen(path, resolve)
          afterwards(() => server.close())
        }),
    ],
  ])('is no %s', async (name, make) => {
    const path = join(scratch(), name.replace(' ', '-'))
    await make(path)
    for (const error of await refusals(path)) {
      expect(error.code).toMatch(/^(ERR_ALKNET_KEY_INVALID|EINVAL|EISDIR)$/)
    }
    expect(await rejection(startServer({ authorizedKeys: path }))).toMatchObject({
      code: expect.stringMatching(/^(ERR_ALKNET_KEY_INVALID|EINVAL|EISDIR)$/),
    })
  })

  it('is no longer than 1 MiB', async () => {
    const path = file('long', 'x'.repeat(1024 * 1024 + 1))
    for (const error of await refusals(path)) expect(error.message).toContain('1 MiB')
  })
})

describe('authorized_keys', () => {
  const line = async (options: string) => `${options} ${(await clientKey()).publicKey}\n`

  async function admits(text: string): Promise<boolean> {
    const stranger = (await makeStranger()).publicKey
    const server = await startServer({ authorizedKeys: Buffer.from(`${text}${stranger}\n`) })
    const attempt = openSession({ ...(await reach(server)), reconnect: false })
    const { error, session } = await attempt.then(
      (session) => ({ session, error: undefined }),
      (error: { code: string }) => ({ session: undefined, error }),
    )
    await session?.close()
    if (error) expect(error.code).toBe('ERR_ALKNET_AUTH_REJECTED')
    return error === undefined
  }
  const makeStranger = () => keyOf('somebody', ['-t', 'ed25519'])

  it.each<[string, boolean]>([
    ['from="127.0.0.1"', true],
    ['from="127.0.0.0/8,!127.0.0.9"', true],
    ['from="10.0.0.0/8"', false],
    ['from="*,!127.0.0.*"', false],
    ['expiry-time="20990101Z"', true],
    ['expiry-time="20200101"', false],
    ['restrict,pty,no-user-rc,environment="A=b c",tunnel="1"', true],
    ['permitopen="db:5432",permitlisten="8080",no-agent-forwarding', true],
    ['cert-authority', false],
    ['frmo="127.0.0.1"', false],
    ['command="uptime"', true],
  ])('admits or not: %s', async (options, admitted) => {
    expect(await admits(await line(options))).toBe(admitted)
  })

  it('lets the first line with a key decide', async () => {
    const [no, yes] = [await line('from="10.0.0.1"'), await line('')]
    expect(await admits(no + yes)).toBe(false)
    expect(await admits(yes + no)).toBe(true)
  })

  it('opens nothing for a key that may run its command only, and what it may for restrict', async () => {
    const keys = Buffer.from(await line('command="uptime"'))
    const options = await reach(await startServer({ authorizedKeys: keys }))
    expect(await rejection(connect(options))).toMatchObject({
      code: 'ERR_ALKNET_CHANNEL_REJECTED',
      reason: 'prohibited',
      message: expect.stringContaining('command'),
    })
    await logIn(await startServer({ authorizedKeys: Buffer.from(await line('restrict')) }))
  })

  it('tells of lines that are not used, without their text', async () => {
    const good = await line('')
    const secret = readFileSync((await clientKey()).path, 'utf8')
    const lines = `# keys\n\n${await line('frmo="a"')}${await line('principals="a"')}${secret}${good}`
    const server = await startServer({
      authorizedKeys: Buffer.from(lines.replaceAll('\n', '\r\n')),
    })
    expect(server.warnings.slice(0, 2)).toEqual([
      'authorized_keys line 3: option 1 is not known',
      'authorized_keys line 4: an option belongs to cert-authority, which is missing',
    ])
    for (const part of secret.split('\n').filter((part) => part.length > 8))
      expect(server.warnings.join()).not.toContain(part)
    await logIn(server)
  })

  const foreign: [string, (path: string, folder: string) => unknown, RegExp][] = [
    ['is another’s', (path) => chownSync(path, STRANGER, 0), /^chown 0 .*keys.+$/],
    ['lies with another', (_, folder) => chownSync(folder, STRANGER, 0), /^chown 0/],
  ]

  it.each<(typeof foreign)[number]>([
    ...(isRoot ? foreign : []),
    ['the group may write', (path: string) => chmodSync(path, 0o664), /^chmod go-w .*keys'$/],
    ['anybody may write', (path: string) => chmodSync(path, 0o606), /^chmod go-w .*keys'$/],
    [
      'anybody may replace',
      (_: string, to: string) => chmodSync(to, 0o777),
      /^chmod go-w .*replace'$/,
    ],
  ])('that %s is refused', async (name, spoil, hint) => {
    const folder = join(scratch(), `folder ${name}`)
    mkdirSync(folder)
    const path = join(folder, 'keys')
    writeFileSync(path, await line(''))
    spoil(path, folder)
    const error = await rejection(startServer({ authorizedKeys: path }))
    expect(error).toMatchObject({
      code: 'ERR_ALKNET_KEY_INVALID',
      hint: expect.stringMatching(hint),
    })
    await logIn(await startServer({ authorizedKeys: path, insecurePermissions: true }))
  })
})

describe('authorized_keys that change', () => {
  const other = () => keyOf('other', ['-t', 'ed25519'])
  let count = 0

  async function withFile(text: string) {
    count += 1
    const path = file(`authorized_keys-${count}`, text)
    return { path, server: await startServer({ authorizedKeys: path }) }
  }

  it('let a new key in at once, without being told', async () => {
    const { path, server } = await withFile(`${(await clientKey()).publicKey}\n`)
    const identity = (await other()).path
    expect(await rejection(logIn(server, { identity }))).toMatchObject({
      code: 'ERR_ALKNET_AUTH_REJECTED',
    })
    appendFileSync(path, `${(await other()).publicKey}\n`)
    await logIn(server, { identity })
  })

  it('keep a removed key out at once, and close its session soon', async () => {
    const { path, server } = await withFile(
      `${(await clientKey()).publicKey}\n${(await other()).publicKey}\n`,
    )
    const removed = await logIn(server, { identity: (await other()).path })
    const staying = await logIn(server)
    const lost = closing(sink(removed.client))
    const lostThere = closing(sink(removed.stream))
    const next = file(`next-${count}`, `${(await clientKey()).publicKey}\n`)
    renameSync(next, path)
    expect(await lost).toMatchObject({
      code: 'ERR_ALKNET_SESSION_CLOSED',
      message: expect.stringContaining('this key may no longer log in: the key is not authorised'),
    })
    expect(await lostThere).toMatchObject({ code: 'ERR_ALKNET_SESSION_CLOSED' })
    expect(await rejection(logIn(server, { identity: (await other()).path }))).toMatchObject({
      code: 'ERR_ALKNET_AUTH_REJECTED',
    })
    await say(staying.client, staying.stream, 'still here')
  })

  it.each([
    ['gone', async () => `${(await other()).publicKey}\n`],
    ['expired', async () => `expiry-time="20200101Z" ${(await clientKey()).publicKey}\n`],
    ['for elsewhere', async () => `from="10.0.0.1" ${(await clientKey()).publicKey}\n`],
    ['gone with all others', async () => '# nobody\n'],
  ])('close on reload() the sessions whose key is %s', async (_how, text) => {
    const { path, server } = await withFile(`${(await clientKey()).publicKey}\n`)
    const { client, stream } = await logIn(server)
    const lost = Promise.all([closing(sink(client)), closing(sink(stream))])
    writeFileSync(path, await text())
    await server.reload()
    for (const error of await lost) expect(error?.message).toContain('may no longer log in')
    expect(await rejection(logIn(server))).toMatchObject({ code: 'ERR_ALKNET_AUTH_REJECTED' })
  })

  it.each<[string, string, (path: string) => unknown]>([
    ['broken', 'ERR_ALKNET_CONFIG', (path) => writeFileSync(path, 'ssh-ed25519 broken\n')],
    ['open to others', 'ERR_ALKNET_KEY_INVALID', (path) => chmodSync(path, 0o666)],
    ['gone', 'ENOENT', (path) => renameSync(path, `${path}.old`)],
  ])('stay as they were when the file is %s', async (_how, code, spoil) => {
    const { path, server } = await withFile(`${(await clientKey()).publicKey}\n`)
    const { client, stream } = await logIn(server)
    spoil(path)
    expect(await rejection(server.reload())).toMatchObject({ code })
    await say(client, stream, 'still here')
    await logIn(server)
  })

  it('in memory are reloaded to the same, and not at all once closed', async () => {
    const server = await startServer({
      authorizedKeys: Buffer.from((await clientKey()).publicKey),
    })
    const { client, stream } = await logIn(server)
    await server.reload()
    await say(client, stream, 'still here')
    const lost = closing(sink(client))
    await server.close()
    await lost
    expect(await rejection(server.reload())).toMatchObject({ code: 'ERR_ALKNET_CONFIG' })
  })
})
