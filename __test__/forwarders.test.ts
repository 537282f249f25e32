import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { type Socket, connect as tcp } from 'node:net'
import path from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { type AlknetForwarder, type AlknetForwarderOptions, forwarders } from '../index.js'
import { closing, discard, rejection, startServer } from './support/alknet.js'
import { say, text } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { type Served, serveAlknet } from './support/cli.js'
import { through } from './support/forwarder.js'
import { clientKey, hostKey, makeKey, scratch, strangerKey } from './support/keys.js'
import { freePort, startBlackHole, startEcho, startTcp } from './support/net.js'

beforeEach(() => {
  process.env.ALKNET_HOME = mkdtempSync(path.join(scratch(), 'home-'))
})

/** Starts one on a free port, which is gone when the test is over. */
async function begin(options: AlknetForwarderOptions): Promise<AlknetForwarder & { port: number }> {
  const begun = await forwarders.start({ listenPort: 0, ...options })
  afterwards(() => forwarders.kill(begun.id))
  return { ...begun, port: begun.listenPort as number }
}

describe('forwarders', () => {
  it('are started, seen, read and ended from a program', async () => {
    const echo = await startEcho()
    const begun = await begin({ targetPort: echo.port, name: 'mine' })
    expect(begun).toMatchObject({ id: 'mine', status: 'running', targetPort: echo.port })
    expect(begun.startedAt).toBeInstanceOf(Date)
    const [listed, ...others] = await forwarders.list({ check: true })
    expect(others).toEqual([])
    expect(listed).toMatchObject({ pid: begun.pid, targetReachable: true, lastError: undefined })
    expect(listed?.uptime).toBeGreaterThanOrEqual(0)
    const other = await startTcp()
    const exists = await rejection(forwarders.start({ name: 'mine', targetPort: other.port }))
    expect(exists).toMatchObject({ code: 'ERR_ALKNET_FORWARDER_EXISTS' })
    expect((await forwarders.logs('mine')).join('\n')).toContain('forwarder started')
    await forwarders.stop('mine')
    expect(await forwarders.status('mine')).toMatchObject({ status: 'stopped', pid: undefined })
    expect(await forwarders.list()).toEqual([])
    const taken = await rejection(forwarders.start({ listenPort: echo.port }))
    expect(taken).toMatchObject({ code: 'EADDRINUSE' })
    const none = await rejection(forwarders.logs(await freePort()))
    expect(none).toMatchObject({ code: 'ERR_ALKNET_FORWARDER_NOT_FOUND' })
    const wrong = await rejection(forwarders.start({ targetPort: 70_000 }))
    expect(wrong).toMatchObject({ code: 'ERR_ALKNET_CONFIG' })
  })

  it('listen and lead where they are told, and count what they carry', async () => {
    const echo = await startTcp((socket) => void socket.pipe(socket), '127.0.0.2')
    const listenPort = await freePort()
    const places = { listenHost: '127.0.0.3', targetHost: '127.0.0.2' }
    const begun = await begin({ listenPort, targetPort: echo.port, ...places })
    expect(begun).toMatchObject({ ...places, id: `${listenPort}`, name: undefined, listenPort })
    expect(await through(listenPort, 'here', '127.0.0.3')).toBe('here')
    const { connections, bytes } = await forwarders.status(listenPort)
    expect(connections).toEqual({ active: 0, accepted: 1, refused: 0 })
    expect(bytes).toEqual({ up: 4, down: 4 })
    expect(readFileSync(begun.stateFile, 'utf8')).toContain('127.0.0.2')
    expect(readFileSync(begun.logFile, 'utf8')).toContain('forwarder started')
    expect(await forwarders.logs(listenPort, { lines: 1 })).toHaveLength(1)
  })

  it('take the place of another when they may', async () => {
    const [one, other] = [await startEcho(), await startEcho()]
    const first = await begin({ name: 'web', targetPort: one.port })
    const asked = { name: 'web', listenPort: first.port, targetPort: other.port }
    const second = await forwarders.start({ ...asked, replace: true })
    expect(second).toMatchObject({ id: 'web', listenPort: first.port, targetPort: other.port })
    expect(second.pid).not.toBe(first.pid)
  })

  it('drain for as long as they are given, unless forced', async () => {
    const echo = await startEcho()
    const begun = await begin({ targetPort: echo.port, drainTimeout: 600_000 })
    expect(JSON.parse(readFileSync(begun.stateFile, 'utf8')).wanted.options.drain).toEqual(['600'])
    const [ending, staying] = [1, 2].map(() => discard(tcp(begun.port, '127.0.0.1'))) as [
      Socket,
      Socket,
    ]
    for (const socket of [ending, staying]) await say(socket, socket, 'before')
    const stopping = forwarders.stop(begun.id).catch(() => {})
    const refused = () => through(begun.port, 'anew').catch((error) => error.code)
    while ((await refused()) !== 'ECONNREFUSED');
    await say(ending, ending, 'meanwhile')
    const ended = text(ending)
    ending.end()
    expect(await ended).toBe('')
    const cut = closing(staying)
    await forwarders.stop(begun.id, { force: true })
    await Promise.all([cut, stopping])
    expect(await forwarders.status(begun.id)).toMatchObject({ status: 'stopped' })
  })

  it('refuse who is one too many, and reset who is silent or waits for a target too long', async () => {
    const [echo, hole] = [await startEcho(), await startBlackHole()]
    const short = { idleTimeout: 1_000, connectTimeout: 1_000, maxConnections: 1 }
    const begun = await begin({ targetPort: echo.port, ...short })
    const socket = discard(tcp(begun.port, '127.0.0.1'))
    await say(socket, socket, 'once')
    await closing(discard(tcp(begun.port, '127.0.0.1')))
    await closing(socket)
    const { connections } = await forwarders.status(begun.id)
    expect(connections).toEqual({ active: 0, accepted: 2, refused: 1 })
    expect((await forwarders.logs(begun.id)).join()).toContain('silent for too long')
    const dark = await begin({ targetPort: hole, ...short })
    await closing(discard(tcp(dark.port, '127.0.0.1')))
    const seen = await forwarders.status(dark.id, { check: true })
    expect(seen).toMatchObject({ lastError: 'ETIMEDOUT', targetReachable: false })
  })

  it('are given up by their signal', async () => {
    const hole = await startBlackHole()
    const server = `127.0.0.1:${hole}`
    const { path: identity } = await clientKey()
    const aborting = new AbortController()
    const hostKeys = (await hostKey()).fingerprint
    const starting = forwarders.start({ server, identity, hostKeys, signal: aborting.signal })
    aborting.abort()
    expect(await rejection(starting)).toMatchObject({ name: 'AbortError' })
  })
})

describe('forwarders through a server', () => {
  const told = async (served: Pick<Served, 'server'>, more: AlknetForwarderOptions) => {
    const echo = await startEcho()
    const begun = await begin({ server: served.server, targetPort: echo.port, ...more })
    expect(begun.server).toBe(served.server)
    expect(await through(begun.port, 'there')).toBe('there')
  }

  it('log in as who they are told, to whom they are told', async () => {
    const served = await serveAlknet()
    const hostKeys = [(await strangerKey()).publicKey, served.hostKey.fingerprint]
    const { path: identity } = await clientKey()
    await told(served, { identity, hostKeys, user: 'somebody', connectTimeout: 30_000 })
    await served.program.complains(/user=somebody .*result=accept/)
    const [, port] = served.server.split(':')
    const knownHosts = path.join(scratch(), 'known_hosts')
    writeFileSync(knownHosts, `[127.0.0.1]:${port} ${served.hostKey.publicKey}\n`)
    await told(served, { identity, knownHosts })
  })

  it('log in with a key that has a passphrase', async () => {
    const passphrase = 'correct horse'
    const locked = await makeKey('locked', ['-t', 'ed25519', '-a', '1', '-N', passphrase])
    const passphraseFile = path.join(scratch(), 'passphrase')
    writeFileSync(passphraseFile, `${passphrase}\n`, { mode: 0o600 })
    const server = await startServer({ authorizedKeys: locked.publicPath, forwarding: true })
    const [at] = server.addresses as [string]
    const hostKeys = server.hostKeyFingerprint
    await told({ server: at }, { identity: locked.path, passphraseFile, hostKeys })
  })
})
