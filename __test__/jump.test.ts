import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { connect as tcp } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type AlknetJump, connect, openSession } from '../index.js'
import {
  closing,
  discard,
  nextConnection,
  pair,
  reach,
  rejection,
  startServer,
} from './support/alknet.js'
import { say, text } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { alknetProgram, plainEnv, serveAlknet } from './support/cli.js'
import { clientKey, hostKey, makeKey, scratch, strangerKey } from './support/keys.js'
import { freePort, startEcho } from './support/net.js'
import { describeWith } from './support/peers.js'
import { start } from './support/program.js'
import { startSshd } from './support/sshd.js'
import { certificate, over, transports } from './support/transports.js'

/** A server of ours that leads its clients on, as a hop. */
async function gate(): Promise<{ server: string; hostKeys: string; string: string }> {
  const server = await startServer({ forwarding: true })
  const { server: at, hostKeys } = await reach(server)
  return { server: at, hostKeys: `${hostKeys}`, string: server.connectionString }
}

async function arrives(jump: string | AlknetJump | (string | AlknetJump)[]): Promise<void> {
  const { client, peer } = await pair({ connect: { jump } })
  await say(client, peer, 'there')
  await say(peer, client, 'and back')
}

describe('connect({ jump })', () => {
  it('goes through one server or several, by what logs in at the target', async () => {
    const [first, second] = [await gate(), await gate()]
    await arrives({ server: first.server, hostKeys: first.hostKeys })
    await arrives(first.string)
    await arrives([first.string, { server: `me@${second.server}`, hostKeys: second.hostKeys }])
  })

  it.each(transports)(
    'reaches a server on the way by %s, and another from there',
    async (transport) => {
      const { serve, connect } = await over(transport)
      const first = await startServer({ forwarding: true, ...serve })
      const jump = [first.connectionString]
      // Iroh finds its own way, and goes through no other server.
      if (transport !== 'iroh') {
        const second = await startServer({ forwarding: true, ...serve })
        const { server, hostKeys } = await reach(second)
        jump.push({ server, hostKeys, transport } as never)
      }
      const { client, peer } = await pair({ connect: { tlsCa: connect?.tlsCa, jump } as never })
      await say(client, peer, 'there')
      await say(peer, client, 'and back')
    },
  )

  it('has a key, a passphrase and known hosts for each', async () => {
    const own = await makeKey('jump-own', ['-t', 'ed25519', '-N', 'of the hop'])
    const { connectionString, addresses } = await startServer({
      authorizedKeys: own.publicPath,
      forwarding: true,
    })
    const asked: string[] = []
    const passphrase = ({ fingerprint }: { fingerprint: string }) => {
      asked.push(fingerprint)
      return 'of the hop'
    }
    await arrives({ server: connectionString, identity: own.path, passphrase })
    expect(asked).toEqual([own.fingerprint])
    const [host, port] = (addresses[0] ?? '').split(':')
    const knownHosts = Buffer.from(`[${host}]:${port} ${(await hostKey()).publicKey}\n`)
    const given = { server: `${host}:${port}`, identity: own.path, passphrase: 'of the hop' }
    await arrives({ ...given, knownHosts })
    const wrong = { ...(await reach(await startServer())), jump: { ...given, passphrase: 'no' } }
    const failed = await rejection(connect(wrong))
    expect(failed).toMatchObject({ code: 'ERR_ALKNET_KEY_INVALID', hop: `${host}:${port}` })
  })

  it('says at which server it failed', async () => {
    const { server, string } = await gate()
    const closed = await startServer()
    const options = await reach(await startServer())
    const fails = async (jump: AlknetJump | string) =>
      rejection(connect({ ...options, jump, target: 'alknet-control' }))
    const stranger = { server: string, identity: (await strangerKey()).path }
    expect(await fails(stranger)).toMatchObject({ code: 'ERR_ALKNET_AUTH_REJECTED', hop: server })
    const other = { server, hostKeys: (await strangerKey()).fingerprint }
    expect(await fails(other)).toMatchObject({ code: 'ERR_ALKNET_HOST_KEY_CHANGED', hop: server })
    const { connectionString, addresses } = closed
    expect(await fails(connectionString)).toMatchObject({
      code: 'ERR_ALKNET_CHANNEL_REJECTED',
      reason: 'prohibited',
      phase: 'tcp',
      hop: addresses[0],
    })
    const nobody = { ...options, hostKeys: (await strangerKey()).fingerprint, jump: string }
    const target = await rejection(connect(nobody))
    expect(target).toMatchObject({ code: 'ERR_ALKNET_HOST_KEY_CHANGED' })
    expect(target).not.toHaveProperty('hop')
  })

  it.each([
    [1, 'ERR_INVALID_ARG_TYPE'],
    [[undefined], 'ERR_INVALID_ARG_TYPE'],
    [{}, 'ERR_INVALID_ARG_VALUE'],
    [{ server: 'h', trust: 'no' }, 'ERR_INVALID_ARG_VALUE'],
    ['me@', 'ERR_ALKNET_CONFIG'],
  ])('refuses %j', async (jump, code) => {
    const options = await reach(await startServer())
    expect(await rejection(connect({ ...options, jump: jump as string }))).toMatchObject({ code })
  })

  it('carries the streams of openSession(), which end with it', async () => {
    const [{ string }, server] = [await gate(), await startServer()]
    const session = await openSession({ ...(await reach(server)), jump: string })
    afterwards(() => session.close())
    const accepted = nextConnection(server)
    const stream = discard(await session.open())
    const peer = (await accepted).stream
    await say(stream, peer, 'through')
    const gone = closing(peer)
    await session.close()
    await gone
  })
})

/** What `alknet connect` takes for itself, for a target and all that is on the way. */
async function own(knownHosts: string): Promise<string[]> {
  const { path } = await clientKey()
  return ['-l', 'visitor', '-i', path, '--known-hosts', knownHosts]
}

async function knownHosts(...servers: string[]): Promise<string> {
  const file = join(scratch(), `known.${servers.length}.${servers[0]?.split(':')[1]}`)
  const { publicKey } = await hostKey()
  const lines = servers.map((at) => `[127.0.0.1]:${at.split(':')[1]} ${publicKey}\n`)
  writeFileSync(file, lines.join(''))
  return file
}

describe('alknet connect -J', () => {
  it('goes through servers in their order', async () => {
    const [first, second, last, echo] = await Promise.all([
      serveAlknet(),
      serveAlknet(),
      serveAlknet(),
      startEcho(),
    ])
    const known = await knownHosts(first.server, second.server, last.server)
    const jumps = ['-J', `${first.server},me@${second.server}`]
    const args = ['connect', last.server, ...(await own(known)), ...jumps, '-W', echo.server]
    const program = start(alknetProgram, args, { env: plainEnv, lines: false })
    await say(program.stdin, program.stdout, 'far away and back')
    program.stdin.end()
    expect((await program.exit).code).toBe(0)
  })

  it.each(transports)('goes through a server that is reached by %s', async (transport) => {
    const [{ tlsCert, tlsKey }, last, echo] = await Promise.all([
      certificate(),
      serveAlknet(),
      startEcho(),
    ])
    const isTls = transport === 'tls' || transport === 'wss'
    const tls = isTls ? ['--tls-cert', tlsCert, '--tls-key', tlsKey] : []
    const gate = await serveAlknet(['--transport', transport, ...tls])
    expect(gate.connectionString).toContain(transport === 'tcp' ? 'host-key=' : transport)
    const known = [...(await own(await knownHosts(last.server))), '--tls-ca', tlsCert]
    const jump = ['-J', gate.connectionString as string, '-W', echo.server]
    const program = start(alknetProgram, ['connect', last.server, ...known, ...jump], {
      env: plainEnv,
      lines: false,
    })
    await say(program.stdin, program.stdout, 'far away and back')
    program.stdin.end()
    expect((await program.exit).code).toBe(0)
  })

  it('says by the exit code and in words which server it was', async () => {
    const [first, last] = await Promise.all([serveAlknet(['--no-forwarding']), serveAlknet()])
    const args = ['connect', last.server, '-J', first.server, '--once', '--json']
    const known = await own(await knownHosts(first.server, last.server))
    const refused = spawnSync(alknetProgram, [...args, ...known], { env: plainEnv })
    expect(JSON.parse(`${refused.stdout}`)).toMatchObject({
      event: 'error',
      code: 'ERR_ALKNET_CHANNEL_REJECTED',
      message: expect.stringContaining(`jump ${first.server}: `),
      exit: 3,
    })
    const strange = await own(await knownHosts(last.server))
    const unknown = spawnSync(alknetProgram, [...args, ...strange], { env: plainEnv })
    expect(unknown.status).toBe(5)
    expect(`${unknown.stdout}`).toContain(`jump ${first.server}: `)
  })
})

describeWith('sshd', 'alknet connect -J and -F, with sshd', () => {
  it('goes through sshd to a server of ours, and through ours to sshd', async () => {
    const [sshd, ours, echo] = [await startSshd(), await serveAlknet(), await startEcho()]
    const known = await knownHosts(sshd.server, ours.server)
    const { path } = await clientKey()
    const who = ['-i', path, '--known-hosts', known, '-W', echo.server]
    const ways = [
      [ours.server, '-J', `${sshd.user}@${sshd.server}`],
      [`${sshd.user}@${sshd.server}`, '-J', ours.server],
    ]
    for (const way of ways) {
      const args = ['connect', ...way, ...who]
      const program = start(alknetProgram, args, { env: plainEnv, lines: false })
      await say(program.stdin, program.stdout, 'a word')
      program.stdin.end()
      expect((await program.exit).code, program.stderr).toBe(0)
    }
  })

  it('takes from an ssh_config what ssh would', async () => {
    const [sshd, ours, echo] = [await startSshd(), await serveAlknet(), await startEcho()]
    const known = await knownHosts(sshd.server, ours.server)
    const { path } = await clientKey()
    const config = join(scratch(), 'ssh_config')
    const near = await freePort()
    const included = join(scratch(), 'included')
    writeFileSync(
      included,
      `Host inner\n  HostName 127.0.0.1\n  Port ${ours.port}\n  ProxyJump gate\n  LocalForward 127.0.0.1:${near} ${echo.server}\n`,
    )
    const lines = [
      `Include ${included}`,
      'Host gate',
      `  HostName 127.0.0.1\n  Port ${sshd.port}\n  User ${sshd.user}`,
      `Match host "127.0.0.1"`,
      `  IdentityFile ${path}`,
      `  UserKnownHostsFile ${known}`,
      '  Compression yes',
    ]
    writeFileSync(config, lines.join('\n'))
    const program = start(alknetProgram, ['connect', '-F', config, 'inner', '--json'], {
      env: plainEnv,
    })
    expect(await program.json()).toMatchObject({ kind: 'forward', event: 'listening' })
    const socket = discard(tcp(near, '127.0.0.1'))
    await say(socket, socket, 'as ssh would')
    socket.end()
    expect(await text(socket)).toBe('')
    program.kill('SIGTERM')
    const { code, stderr } = await program.exit
    expect(code).toBe(0)
    expect(stderr).toContain('streams are not compressed')
  })

  it('does not go round what an ssh_config wants and it cannot do', () => {
    const ask = (line: string) => {
      const config = join(scratch(), 'ssh_config.refused')
      writeFileSync(config, `Host x\n  ${line}\n`)
      const args = ['connect', '-F', config, 'x']
      return spawnSync(alknetProgram, args, { env: plainEnv, encoding: 'utf8' })
    }
    const proxy = ask('ProxyCommand nc %h %p')
    expect(proxy.status).toBe(8)
    expect(proxy.stderr).toContain('--jump')
    const broken = ask('Nonsense 1')
    expect(broken.status).toBe(8)
    expect(broken.stderr).toMatch(/Bad configuration option: nonsense/i)
  })
})
