import { appendFileSync, copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  type AlknetConnectOptions,
  type AlknetServeOptions,
  type AlknetServer,
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
import { certify } from './support/certificates.js'
import { afterwards, memo } from './support/cleanup.js'
import { hostKey, type KeyPair, makeKey, scratch, strangerKey } from './support/keys.js'
import { describeWith, peerPath } from './support/peers.js'
import { start } from './support/program.js'
import { startSshd } from './support/sshd.js'

const authority = memo(() => makeKey('authority'))
const always = ['-V', '-1d:+1d']
let count = 0

function file(text: string): string {
  count += 1
  const path = join(scratch(), `file-${count}`)
  writeFileSync(path, text, { mode: 0o600 })
  return path
}

/** A key of its own, for alknet's default user, with a certificate in `KEY-cert.pub` beside it. */
async function certified(name: string, args: readonly string[] = []): Promise<KeyPair> {
  const key = await makeKey(name)
  const certificate = await certify(await authority(), key, ['-n', 'alknet', ...always, ...args])
  copyFileSync(certificate, `${key.path}-cert.pub`)
  return key
}

/** A server that believes the authority and knows no key. */
async function startBelieving(options?: AlknetServeOptions): Promise<AlknetServer> {
  const { publicKey } = await authority()
  const certAuthority = Buffer.from(publicKey)
  return startServer({ authorizedKeys: Buffer.from(''), certAuthority, ...options })
}

async function logIn(server: AlknetServer, identity: string, more?: AlknetConnectOptions) {
  const accepted = nextConnection(server)
  const client = discard(await connect({ ...(await reach(server)), identity, ...more }))
  const { stream, info } = await accepted
  // Some of these sessions are ended from elsewhere.
  for (const end of [client, stream]) end.on('error', () => {})
  return { client, info }
}

const rejected = { code: 'ERR_ALKNET_AUTH_REJECTED' }
const invalid = { code: 'ERR_ALKNET_KEY_INVALID', phase: 'config' }

describe('a certificate', () => {
  it('beside the key is presented without a word, and both ends are told of it', async () => {
    const key = await certified('beside', ['-z', '18446744073709551615', '-I', 'anna’s laptop'])
    const { client, info } = await logIn(await startBelieving(), key.path)
    const certificate = {
      id: 'anna’s laptop',
      serial: '18446744073709551615',
      principals: ['alknet'],
      caFingerprint: (await authority()).fingerprint,
    }
    expect(info).toMatchObject({ keyFingerprint: key.fingerprint, certificate })
    expect(client.info).toMatchObject({ keyFingerprint: key.fingerprint, certificate })
  })

  it('may be given as a path or a Buffer, with a key in memory', async () => {
    const key = await makeKey('in-memory')
    const path = await certify(await authority(), key, ['-n', 'alknet', ...always])
    const server = await startBelieving()
    const identity = readFileSync(key.path)
    for (const certificate of [path, readFileSync(path)]) {
      const client = discard(await connect({ ...(await reach(server)), identity, certificate }))
      expect(client.info.certificate?.id).toBe('of the test')
    }
  })

  it('that does not count leaves the key alone, and nobody is told of it', async () => {
    const key = await certified('alone')
    const { info } = await logIn(await startServer({ authorizedKeys: key.publicPath }), key.path)
    expect(info.certificate).toBeUndefined()
  })

  it('that was given must be one, of this key, for a user', async () => {
    const [key, other] = [await makeKey('owner'), await strangerKey()]
    const ca = await authority()
    for (const [certificate, why] of [
      [Buffer.from(key.publicKey), /no OpenSSH certificate/],
      [Buffer.from('ssh-ed25519-cert-v01@openssh.com AAAA'), /no OpenSSH certificate/],
      [await certify(ca, other, ['-n', 'alknet']), /for another key/],
      [await certify(ca, key, ['-h', '-n', 'alknet']), /for a host, not for a user/],
    ] as const) {
      const attempt = connect({ server: '127.0.0.1:1', identity: key.path, certificate })
      const error = await rejection(attempt)
      expect(error).toMatchObject({ ...invalid, message: expect.stringMatching(why) })
    }
    const missing = connect({ server: '127.0.0.1:1', identity: key.path, certificate: '/none' })
    expect(await rejection(missing)).toMatchObject({ code: 'ENOENT' })
    const private_ = readFileSync(key.path, 'utf8')
    const secret = connect({ server: '127.0.0.1:1', identity: key.path, certificate: private_ })
    const error = (await rejection(secret)) as Error
    expect(error).toMatchObject({ code: 'ERR_ALKNET_KEY_INVALID' })
    expect(error.message).not.toContain(private_.split('\n')[1])
  })

  it('beside the key that cannot be used is left out', async () => {
    const key = await makeKey('left-out')
    writeFileSync(`${key.path}-cert.pub`, 'ssh-ed25519-cert-v01@openssh.com AAAA\n')
    const server = await startServer({ authorizedKeys: key.publicPath })
    expect((await logIn(server, key.path)).info.certificate).toBeUndefined()
  })

  it('that is refused is named, with what could be wrong with it', async () => {
    const key = await makeKey('refused')
    const server = await startBelieving({ limits: { penalties: false } })
    for (const [args, hint] of [
      [['-n', 'alknet', '-V', '-2d:-1d'], 'has expired'],
      [['-n', 'alknet', '-V', '+1d:+2d'], 'not valid yet'],
      [['-n', 'berta,cora'], 'it stands for ["berta", "cora"]'],
    ] as const) {
      const certificate = await certify(await authority(), key, args)
      const error = await rejection(
        connect({ ...(await reach(server)), identity: key.path, certificate }),
      )
      expect(error).toMatchObject({ ...rejected, hint: expect.stringContaining(hint) })
      expect((error as Error).message).toContain('certificate "of the test"')
    }
  })

  it('is read anew for every session that takes a lost one’s place', async () => {
    const key = await certified('renewed')
    const server = await startBelieving()
    const session = await openSession({
      ...(await reach(server)),
      identity: key.path,
      certificate: `${key.path}-cert.pub`,
    })
    afterwards(() => session.close())
    const newer = await certify(await authority(), key, ['-n', 'alknet', '-z', '2', ...always])
    copyFileSync(newer, `${key.path}-cert.pub`)
    const [listen, up] = [server.addresses[0] as string, nextUp(session)]
    await server.close()
    const again = await startBelieving({ listen, hostKey: (await hostKey()).path })
    await up
    const accepted = nextConnection(again)
    discard(await session.open())
    expect((await accepted).info.certificate?.serial).toBe('2')
  })
})

/** Resolves when a session is up again. */
function nextUp(session: NodeJS.EventEmitter): Promise<unknown> {
  return new Promise((resolve) => session.once('up', resolve))
}

describe('a server', () => {
  it('needs keys or an authority, and tells of lines it cannot use', async () => {
    const none = { authorizedKeys: Buffer.from(''), certAuthority: Buffer.from('# nobody\n') }
    expect(await rejection(startServer(none))).toMatchObject({ code: 'ERR_ALKNET_CONFIG' })
    const { publicKey } = await authority()
    const certAuthority = Buffer.from(`frmo="a" ${publicKey}\n${publicKey}\n`)
    const server = await startServer({ authorizedKeys: Buffer.from(''), certAuthority })
    expect(server.warnings).toEqual(['certAuthority line 1: option 1 is not known'])
  })

  it('refuses a list of what is revoked that it does not understand', async () => {
    for (const text of ['nonsense\n', 'serial: 0\n', 'SSHKRL\n\0']) {
      const error = await rejection(startBelieving({ revokedKeys: Buffer.from(text) }))
      expect(error).toMatchObject(invalid)
    }
    expect(await rejection(startBelieving({ revokedKeys: '/none' }))).toMatchObject({
      code: 'ENOENT',
    })
  })

  it.each(['id: of the test', 'serial: 7', 'the key', 'the authority'])(
    'closes the session of what is revoked, and lets it in no more: %s',
    async (line) => {
      const [one, other] = [await certified(`revoked-${line}`, ['-z', '7']), await strangerKey()]
      const revokedKeys = file('# none yet\n')
      const authorizedKeys = Buffer.from(other.publicKey)
      const server = await startBelieving({ revokedKeys, authorizedKeys })
      const { client } = await logIn(server, one.path)
      const staying = await logIn(server, other.path)
      const lost = closing(sink(client))
      const keys: Record<string, KeyPair> = { 'the key': one, 'the authority': await authority() }
      appendFileSync(revokedKeys, `${keys[line]?.publicKey ?? line}\n`)
      await server.reload()
      expect((await lost)?.message).toContain('may no longer log in: the certificate is revoked')
      expect(await rejection(logIn(server, one.path))).toMatchObject(rejected)
      expect(staying.client.destroyed).toBe(false)
    },
  )

  it('sees by itself that a file of authorities or of what is revoked has changed', async () => {
    const key = await certified('watched')
    const [certAuthority, revokedKeys] = [file((await authority()).publicKey), file('')]
    const server = await startBelieving({ certAuthority, revokedKeys })
    const lost = closing(sink((await logIn(server, key.path)).client))
    writeFileSync(revokedKeys, `${key.fingerprint}\n`)
    expect(await lost).toMatchObject({ code: 'ERR_ALKNET_SESSION_CLOSED' })
    writeFileSync(revokedKeys, '# nobody\n')
    await logIn(server, key.path)
    writeFileSync(certAuthority, (await strangerKey()).publicKey)
    expect(await rejection(logIn(server, key.path))).toMatchObject(rejected)
  })
})

const unknown = { code: 'ERR_ALKNET_HOST_KEY_UNKNOWN', phase: 'hostkey' }

describe('a host certificate', () => {
  const hosts = ['-h', '-n', 'example.org,127.0.0.1', ...always]

  async function startCertified(args = hosts, more?: AlknetServeOptions) {
    const hostCertificate = await certify(await authority(), await hostKey(), args)
    return startServer({ hostCertificate, ...more })
  }

  async function attempt(server: AlknetServer, lines: string[], more?: AlknetConnectOptions) {
    const { hostKeys: _, ...options } = await reach(server)
    const knownHosts = Buffer.from(lines.join('\n'))
    const session = await openSession({ ...options, knownHosts, reconnect: false, ...more })
    const { hostKeyFingerprint } = session
    await session.close()
    return hostKeyFingerprint
  }

  const trusting = async (pattern = '*') =>
    `@cert-authority ${pattern} ${(await authority()).publicKey}`

  it('of a known authority answers for a server that is not known', async () => {
    const server = await startCertified()
    const port = server.addresses[0]?.split(':')[1]
    for (const pattern of ['*', `[127.0.0.1]:${port}`, '127.0.0.1', '[127.0.0.*]:*']) {
      const shown = await attempt(server, [await trusting(pattern)])
      expect(shown, pattern).toBe((await hostKey()).fingerprint)
    }
    const anyHost = await startCertified(['-h', ...always])
    await attempt(anyHost, [await trusting()])
  })

  it.each<[string, string[], RegExp]>([
    ['for other hosts', ['-h', '-n', 'example.org'], /it is for other hosts/],
    ['that has expired', ['-h', '-n', '127.0.0.1', '-V', '-2d:-1d'], /has expired/],
    ['with an option', [...hosts, '-O', 'critical:x@y=1'], /critical option/],
  ])('does not count: %s', async (_what, args, why) => {
    const server = await startCertified(args)
    const error = await rejection(attempt(server, [await trusting()]))
    expect(error).toMatchObject({ ...unknown, hint: expect.stringMatching(why) })
    const first = { trust: 'first-use', knownHosts: file(await trusting()) } as const
    expect(await rejection(attempt(server, [], first))).toMatchObject(unknown)
    // As with ssh, the key in it may be known by itself.
    const { publicKey } = await hostKey()
    await attempt(server, [await trusting(), `* ${publicKey}`])
  })

  it('of another authority, or of none, leaves a server unknown', async () => {
    const stranger = `@cert-authority * ${(await strangerKey()).publicKey}`
    expect(await rejection(attempt(await startCertified(), [stranger]))).toMatchObject(unknown)
    const elsewhere = await trusting('example.org')
    expect(await rejection(attempt(await startCertified(), [elsewhere]))).toMatchObject(unknown)
    const plain = await rejection(attempt(await startServer(), [await trusting()]))
    expect(plain).toMatchObject({ ...unknown, hint: expect.stringContaining('an authority') })
  })

  it('is worth nothing once the key or the authority is revoked', async () => {
    const server = await startCertified()
    for (const { publicKey } of [await hostKey(), await authority()]) {
      const lines = [await trusting(), `@revoked * ${publicKey}`]
      expect(await rejection(attempt(server, lines))).toMatchObject({
        code: 'ERR_ALKNET_HOST_KEY_REVOKED',
      })
    }
  })

  it('is not asked for where the key is expected', async () => {
    const server = await startCertified(['-h', '-n', 'example.org'])
    const hostKeys = (await hostKey()).fingerprint
    await attempt(server, [await trusting()], { hostKeys })
    const other = { hostKeys: (await strangerKey()).fingerprint }
    expect(await rejection(attempt(server, [await trusting()], other))).toMatchObject({
      code: 'ERR_ALKNET_HOST_KEY_CHANGED',
    })
  })

  it('lets a server come back with another key', async () => {
    const server = await startCertified()
    const { hostKeys: _, ...options } = await reach(server)
    const knownHosts = Buffer.from(await trusting())
    const session = await openSession({ ...options, knownHosts })
    afterwards(() => session.close())
    const up = nextUp(session)
    await server.close()
    const key = await makeKey(`second-host-${count}`)
    const hostCertificate = await certify(await authority(), key, hosts)
    const again = await startServer({ listen: options.server, hostKey: key.path, hostCertificate })
    await up
    const accepted = nextConnection(again)
    discard(await session.open())
    await accepted
    expect(session.hostKeyFingerprint).toBe(key.fingerprint)
  })

  it('must be one of the host key', async () => {
    const { publicPath } = await hostKey()
    for (const hostCertificate of [
      publicPath,
      await certify(await authority(), await strangerKey(), hosts),
      await certify(await authority(), await hostKey(), ['-n', 'alknet']),
    ]) {
      expect(await rejection(startServer({ hostCertificate }))).toMatchObject(invalid)
    }
  })

  describeWith('ssh', 'for OpenSSH’s client', () => {
    it('answers for our server', async () => {
      const server = await startCertified(hosts, { limits: { penalties: false } })
      const [host, port] = (server.addresses[0] ?? '').split(':')
      const { identity } = await reach(server)
      for (const [pattern, good] of [
        ['*', true],
        ['example.org', false],
      ] as const) {
        const settings = [
          'BatchMode=yes',
          'StrictHostKeyChecking=yes',
          `UserKnownHostsFile=${file(`${await trusting(pattern)}\n`)}`,
          'GlobalKnownHostsFile=none',
        ].flatMap((setting) => ['-o', setting])
        const where = ['-F', 'none', '-p', `${port}`, '-i', `${identity}`, `visitor@${host}`]
        const args = ['-v', ...settings, '-W', 'alknet-control:1', ...where]
        const client = start(peerPath('ssh'), args, { lines: false })
        server.once('connection', (stream) => stream.end())
        client.stdout.resume()
        client.stdin.end()
        const { code, stderr } = await client.exit
        expect(code, stderr).toBe(good ? 0 : 255)
        expect(stderr).toMatch(good ? /Server host certificate:/ : /No matching CA found/)
      }
    })
  })
})

describeWith('sshd', 'OpenSSH’s server', () => {
  const kinds: [string, string[]][] = [
    ['Ed25519', ['-t', 'ed25519']],
    ['ECDSA', ['-t', 'ecdsa', '-b', '384']],
    ['RSA-by-SHA-2', ['-t', 'rsa', '-b', '2048']],
  ]

  it.each(kinds)(
    'lets our client in with a certificate, and is known by its own: %s',
    async (name, args) => {
      const [ca, key, host] = await Promise.all([
        authority(),
        makeKey(`sshd-user-${name}`, args),
        makeKey(`sshd-host-${name}`, args),
      ])
      const hostCertificate = await certify(ca, host, ['-h', '-n', '127.0.0.1', ...always])
      const sshd = await startSshd([
        `HostKey ${host.path}`,
        `HostCertificate ${hostCertificate}`,
        `TrustedUserCAKeys ${ca.publicPath}`,
        'AuthorizedKeysFile none',
      ])
      const certificate = await certify(ca, key, ['-n', sshd.user, ...always])
      const session = await openSession({
        server: sshd.server,
        knownHosts: Buffer.from(`@cert-authority * ${ca.publicKey}`),
        user: sshd.user,
        identity: key.path,
        certificate,
        reconnect: false,
      })
      expect(session.hostKeyFingerprint).toBe(host.fingerprint)
      await session.close()
      rmSync(certificate)
    },
  )
})
