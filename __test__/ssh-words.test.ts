import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { connect } from '../index.js'
import { discard, rejection } from './support/alknet.js'
import { say, text } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { connectAlknet, plainEnv, type Served, serveAlknet } from './support/cli.js'
import { binary, npm, through } from './support/forwarder.js'
import { clientKey, hostKey, scratch, strangerKey } from './support/keys.js'
import { freePort, startEcho } from './support/net.js'
import { describeWith } from './support/peers.js'
import { start } from './support/program.js'
import { throughSocks } from './support/proxy.js'
import { startSshd } from './support/sshd.js'

/** An OpenSSH server. */
async function openssh(): Promise<Pick<Served, 'server' | 'hostKey' | 'user'>> {
  return { ...(await startSshd()), hostKey: await hostKey() }
}

/** Runs `alknet connect` to its end, as whom the server knows. */
async function run(at: Awaited<ReturnType<typeof openssh>>, args: string[], program = binary) {
  const who = ['-l', at.user, '-i', (await clientKey()).path, '--no-socks5']
  const words = [...program.slice(1), 'connect', ...who, ...args, at.server]
  const running = start(program[0] as string, words, { env: plainEnv, lines: false })
  running.stdin.end()
  const [stdout, { code: status, stderr }] = await Promise.all([text(running.stdout), running.exit])
  return { status, stdout, stderr }
}

describeWith('sshd', 'alknet connect, in the words of ssh, at OpenSSH', () => {
  it('takes addresses of one family with -4 and -6, of the server and of places to listen on', async () => {
    const [at, echo] = [await openssh(), await startEcho()]
    const named = { ...at, server: at.server.replace('127.0.0.1', 'localhost') }
    const { told, ports } = await connectAlknet(named, ['-4', '-L', `0:${echo.server}`])
    expect(told[0]?.addresses).toEqual([`127.0.0.1:${ports[0]}`])
    expect(await through(ports[0] as number, 'by IPv4')).toBe('by IPv4')
    const known = ['--host-key', at.hostKey.fingerprint, '--once']
    expect(await run(named, [...known, '-6'])).toMatchObject({ status: 3 })
    const none = await run(at, [...known, '-o', 'AddressFamily=inet6'])
    expect(none).toMatchObject({ status: 3 })
    expect(none.stderr).toContain('no IPv6 address')
    const { told: six } = await connectAlknet(at, ['-L', `[::1]:0:${echo.server}`])
    expect(six[0]?.addresses?.[0]).toMatch(/^\[::1\]:\d+$/)
    const other = await run(at, [...known, '-4', '-L', `[::1]:0:${echo.server}`])
    expect(other.stderr).toContain('no IPv4 address')
  })

  it('is a proxy at every -D', async () => {
    const [at, echo] = [await openssh(), await startEcho()]
    const { ports } = await connectAlknet(at, ['-D', '127.0.0.1:0', '-D', '127.0.0.1:0'])
    expect(new Set(ports).size).toBe(2)
    for (const port of ports) {
      const socket = await throughSocks(port, echo.port)
      await say(socket, socket, 'through')
    }
  })

  it('looks the server up by its HostKeyAlias, from -o or from a file', async () => {
    const at = await openssh()
    const knownHosts = join(scratch(), 'aliases')
    const file = join(scratch(), 'alias_config')
    writeFileSync(knownHosts, `database ${at.hostKey.publicKey}\n`)
    writeFileSync(file, 'Host *\n  HostKeyAlias database\n')
    const known = ['--known-hosts', knownHosts, '--once']
    const echo = await startEcho()
    const target = ['-W', echo.server]
    expect(await run(at, [...known, ...target])).toMatchObject({ status: 5 })
    for (const alias of [
      ['-o', 'HostKeyAlias=database'],
      ['-F', file],
    ]) {
      expect(await run(at, [...known, ...alias, ...target])).toMatchObject({
        status: 0,
        stderr: '',
      })
    }
    const other = await run(at, [...known, '-o', 'HostKeyAlias=another', ...target])
    expect(other).toMatchObject({ status: 5 })
  })

  it.each([
    ['the program', binary],
    ['the package', npm],
  ])('goes to the background with -f once it listens: %s', async (_name, program) => {
    const [at, echo, port] = [await openssh(), await startEcho(), await freePort()]
    const known = ['--host-key', at.hostKey.fingerprint]
    const forward = ['-fNTL', `${port}:${echo.server}`, '--json']
    // Returns once nobody holds on to what it says.
    const done = await run(at, [...known, ...forward], program)
    expect(done).toMatchObject({ status: 0, stderr: '' })
    const events = done.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const { pid } = events.at(-1)
    afterwards(() => void process.kill(pid, 'SIGKILL'))
    const names = events.map(({ event }) => event)
    expect(names).toEqual(['listening', 'ready', 'background'])
    expect(await through(port, 'in the background')).toBe('in the background')
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? []
    expect(fields[3]).toBe(String(pid)) // the leader of a session of its own
  })

  it('says with -f why it cannot go to the background, and leaves nothing there', async () => {
    const [at, taken] = [await openssh(), await startEcho()]
    const known = ['--host-key', at.hostKey.fingerprint]
    expect(await run(at, ['-f', '--host-key', (await strangerKey()).fingerprint])).toMatchObject({
      status: 5,
    })
    const bind = await run(at, [...known, '-f', '-L', `127.0.0.1:${taken.port}:h:1`])
    expect(bind).toMatchObject({ status: 6 })
    expect(bind.stderr).toContain('EADDRINUSE')
    const nobody = { ...at, server: `127.0.0.1:${await freePort()}` }
    expect(await run(nobody, [...known, '-f'])).toMatchObject({ status: 3 })
    expect(await run(at, [...known, '-f', '-W', 'h:1'])).toMatchObject({ status: 8 })
  })

  it('takes what changes nothing, and says that nothing is compressed', async () => {
    const [at, echo] = [await openssh(), await startEcho()]
    const log = join(scratch(), 'ssh-words.log')
    const known = ['--host-key', at.hostKey.fingerprint, '-W', echo.server]
    const done = await run(at, [...known, '-CNTnaxk', '-E', log, '-o', 'Compression=yes'])
    expect(done).toMatchObject({ status: 0, stderr: '', stdout: '' })
    expect(readFileSync(log, 'utf8').match(/streams are not compressed/g)).toHaveLength(2)
  })
})

describe('connect(), in the words of ssh', () => {
  it('takes addresses of one family', async () => {
    const served = await serveAlknet(['--bus'])
    const named = { server: served.server.replace('127.0.0.1', 'localhost') }
    const who = { identity: (await clientKey()).path, hostKeys: served.hostKey.fingerprint }
    const stream = discard(await connect({ ...named, ...who, family: 4 }))
    expect(stream.remoteFamily).toBe('IPv4')
    const other = await rejection(connect({ ...named, ...who, family: 6 }))
    // It may have none.
    expect(other).toMatchObject({ code: expect.stringMatching(/^(ECONNREFUSED|ENOTFOUND)$/) })
    const none = await rejection(connect({ server: served.server, ...who, family: 6 }))
    expect(none).toMatchObject({ code: 'ENOTFOUND' })
    const wrong = await rejection(connect({ ...named, ...who, family: 5 as 4 }))
    expect(wrong).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
  })

  it('looks the server up by another name', async () => {
    const { server, hostKey: host } = await serveAlknet(['--bus'])
    const who = { server, identity: (await clientKey()).path }
    const knownHosts = Buffer.from(`database ${host.publicKey}\n`)
    discard(await connect({ ...who, knownHosts, hostKeyAlias: 'database' }))
    const unknown = await rejection(connect({ ...who, knownHosts }))
    expect(unknown).toMatchObject({ code: 'ERR_ALKNET_HOST_KEY_UNKNOWN' })
  })
})
