import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { connect as tlsConnect } from 'node:tls'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { type AlknetAcmeStatus, type AlknetServer, connect } from '../index.js'
import { discard, nextConnection, reach, rejection, startServer } from './support/alknet.js'
import { say } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { serveAlknet } from './support/cli.js'
import { scratch } from './support/keys.js'
import { freePort } from './support/net.js'
import { startPebble } from './support/pebble.js'
import { describeWith, peerPath } from './support/peers.js'
import { certificate } from './support/transports.js'

const run = promisify(execFile)
const DOMAIN = 'tunnel.example.com'

const folder = () => mkdtempSync(join(scratch(), 'acme-'))

/** A server on `port` that gets its certificate where `options` say. */
function startAcme(port: number, options: object): Promise<AlknetServer> {
  const listen = `127.0.0.1:${port}`
  return startServer({ transport: 'tls', listen, acmeDomain: DOMAIN, ...options })
}

/** The first status that fits. */
async function status(
  server: AlknetServer,
  fits: (status: AlknetAcmeStatus) => boolean,
): Promise<AlknetAcmeStatus> {
  for (;;) {
    const now = server.acme
    if (now !== undefined && fits(now)) return now
    await once(server, 'acme')
  }
}

const issued = ({ validUntil }: AlknetAcmeStatus) => validUntil !== undefined
const failed = ({ error }: AlknetAcmeStatus) => error !== undefined

/** The number of the certificate that a client is shown. */
async function serial(port: number): Promise<string> {
  const to = { port, host: '127.0.0.1', servername: DOMAIN, rejectUnauthorized: false }
  const socket = tlsConnect(to)
  afterwards(() => void socket.destroy())
  await once(socket, 'secureConnect')
  const { serialNumber } = socket.getPeerCertificate()
  socket.destroy()
  return serialNumber
}

describeWith('pebble', 'a certificate by ACME', () => {
  it('is issued while the server listens, and shown by the next one without asking', async () => {
    const port = await freePort()
    const authority = await startPebble(port)
    const acmeCache = join(folder(), 'cache')
    const first = await startAcme(port, { ...authority.acme, acmeCache, stealth: true })
    const { domains, validUntil, nextAttempt, error } = await status(first, issued)
    expect([domains, error]).toEqual([[DOMAIN], undefined])
    expect(Number(validUntil)).toBeGreaterThan(Number(nextAttempt))
    const to = {
      ...(await reach(first)),
      transport: 'tls' as const,
      tlsCa: await authority.root(),
      tlsServerName: DOMAIN,
    }
    const accepted = nextConnection(first)
    const client = discard(await connect(to))
    const { stream } = await accepted
    await say(client, stream, 'vouched for')
    stream.on('error', () => {})
    client.destroy()
    const shown = await serial(port)

    expect(statSync(acmeCache).mode & 0o777).toBe(0o700)
    const files = readdirSync(acmeCache)
    expect(files.sort()).toEqual([
      expect.stringMatching(/^account-\w+\.json$/),
      expect.stringMatching(/^tunnel\.example\.com-\w+\.pem$/),
    ])
    for (const file of files) expect(statSync(join(acmeCache, file)).mode & 0o777).toBe(0o600)

    await first.close()
    authority.program.kill()
    await authority.program.exit
    const second = await startAcme(port, { ...authority.acme, acmeCache })
    expect(second.acme?.validUntil).toEqual(validUntil)
    expect(await serial(port)).toBe(shown)
  })

  it('is renewed before its end, and sessions go on', async () => {
    const port = await freePort()
    const authority = await startPebble(port, { seconds: 6 })
    const server = await startAcme(port, { ...authority.acme, acmeCache: folder() })
    const { validUntil } = await status(server, issued)
    const before = await serial(port)
    const to = { ...(await reach(server)), transport: 'tls' as const, insecure: true }
    const accepted = nextConnection(server)
    const client = discard(await connect(to))
    const { stream } = await accepted
    const renewed = await status(server, (now) => Number(now.validUntil) > Number(validUntil))
    expect(renewed.error).toBeUndefined()
    expect(await serial(port)).not.toBe(before)
    await say(client, stream, 'still here')
  })

  it('comes once there is an authority, which was not at first', async () => {
    const [port, api] = [await freePort(), await freePort()]
    const { tlsCert } = await certificate()
    const server = await startAcme(port, {
      acmeDirectory: `https://127.0.0.1:${api}/dir`,
      acmeCa: tlsCert,
      acmeCache: folder(),
    })
    const { error, validUntil, nextAttempt } = await status(server, failed)
    expect(error).toMatchObject({ code: 'ECONNREFUSED' })
    expect([validUntil, nextAttempt]).toEqual([undefined, expect.any(Date)])
    await startPebble(port, { port: api })
    expect((await status(server, issued)).error).toBeUndefined()
  })

  it('is not issued for a name that leads elsewhere, and the server says why', async () => {
    const authority = await startPebble(await freePort())
    const server = await startAcme(await freePort(), { ...authority.acme, acmeCache: folder() })
    const { error, nextAttempt } = await status(server, failed)
    expect(error).toMatchObject({ code: 'ERR_ALKNET_TLS' })
    expect(error?.message).toMatch(
      /^ACME: tunnel\.example\.com was not found to lead here: .*connect/,
    )
    // Not at once: authorities count what they refuse.
    expect(Number(nextAttempt) - Date.now()).toBeGreaterThan(30_000)
  })

  it('comes from the command line too, beside stealth and a WebSocket', async () => {
    const port = await freePort()
    const authority = await startPebble(port)
    const server = await serveAlknet([
      ...['--listen', `127.0.0.1:${port}`, '--transport', 'tls,wss', '--stealth'],
      ...['--acme-domain', DOMAIN, '--acme-directory', authority.acme.acmeDirectory],
      ...['--acme-ca', authority.acme.acmeCa, '--acme-cache', folder()],
      ...['--acme-contact', 'ops@example.com'],
    ])
    await server.program.complains(/a TLS certificate was issued/)
  })
})

describe('the options of ACME', () => {
  it('are refused where they make no sense', async () => {
    const own = await certificate()
    for (const wrong of [
      { transport: 'tcp', acmeDomain: DOMAIN },
      { acmeDomain: '192.0.2.1' },
      { acmeDomain: '*.example.com' },
      { acmeDomain: [DOMAIN, 'localhost'] },
      { acmeDomain: DOMAIN, ...own },
      { acmeDomain: DOMAIN, acmeDirectory: 'http://ca.example/dir' },
      { acmeDomain: DOMAIN, acmeContact: 'nobody' },
      { acmeDirectory: 'https://ca.example/dir', ...own },
    ]) {
      const options = { transport: 'tls', acmeCache: folder(), ...wrong } as object
      expect(await rejection(startServer(options))).toMatchObject({ code: 'ERR_ALKNET_CONFIG' })
    }
  })
})

describeWith('openssl', 'an authority that was not asked', () => {
  it('gets no certificate and no SSH', async () => {
    const server = await startAcme(0, {
      acmeDirectory: `https://127.0.0.1:${await freePort()}/dir`,
      acmeCache: folder(),
    })
    const to = ['-connect', `${server.addresses[0]}`, '-servername', DOMAIN]
    const asked = run(peerPath('openssl'), ['s_client', ...to, '-alpn', 'acme-tls/1'])
    asked.child.stdin?.end()
    const { stdout, stderr } = await asked.catch((error) => error)
    expect(stderr + stdout).toMatch(/alert/)
    expect(stdout).not.toContain('SSH-')
  })
})
