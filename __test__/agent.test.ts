import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type AlknetConnectOptions, connect } from '../index.js'
import { discard, nextConnection, reach, rejection, startServer } from './support/alknet.js'
import { say } from './support/bytes.js'
import { clientKey, makeKey, scratch, strangerKey } from './support/keys.js'
import { describeWith } from './support/peers.js'
import { type Program, start } from './support/program.js'
import { startSshd } from './support/sshd.js'

/** A real ssh-agent. */
interface Agent {
  socket: string
  program: Program
  /** ssh-add(1). */
  add(...args: string[]): void
}

let agents = 0

async function startAgent(): Promise<Agent> {
  agents += 1
  const socket = join(scratch(), `agent.${agents}`)
  // Whoever has to confirm a signature says no.
  const env = { SSH_ASKPASS: '/bin/false', SSH_ASKPASS_REQUIRE: 'force' }
  const program = start('ssh-agent', ['-D', '-a', socket], { env })
  await program.line() // it listens before it says where
  expect(existsSync(socket)).toBe(true)
  const add = (...args: string[]) => {
    const added = spawnSync('ssh-add', ['-q', ...args], {
      env: { ...process.env, SSH_AUTH_SOCK: socket },
      encoding: 'utf8',
      input: '',
    })
    expect(added, added.stderr).toMatchObject({ status: 0 })
  }
  return { socket, program, add }
}

/** What reaches a server of ours that lets the client's key in, by an agent. */
async function by(agent: AlknetConnectOptions['agent']) {
  const server = await startServer()
  const { identity: _, ...options } = await reach(server)
  return { server, options: { ...options, agent } as AlknetConnectOptions }
}

const fails = async (agent: AlknetConnectOptions['agent']) =>
  rejection(connect((await by(agent)).options))

describeWith('ssh-agent', 'connect({ agent })', () => {
  it('logs in with a key that stays with the agent', async () => {
    const agent = await startAgent()
    agent.add((await strangerKey()).path)
    agent.add((await clientKey()).path)
    const { server, options } = await by(agent.socket)
    const accepted = nextConnection(server)
    const client = discard(await connect(options))
    const { stream, info } = await accepted
    expect(info.keyFingerprint).toBe((await clientKey()).fingerprint)
    await say(client, stream, 'signed by another')
  })

  it('logs in at sshd, RSA keys with SHA-2 too', async () => {
    const agent = await startAgent()
    const rsa = await makeKey('agent-rsa', ['-t', 'rsa', '-b', '2048'])
    agent.add(rsa.path)
    const sshd = await startSshd([`AuthorizedKeysFile ${rsa.publicPath}`])
    const { hostKeys } = (await by(true)).options
    const options = { server: sshd.server, user: sshd.user, agent: agent.socket }
    const refused = await rejection(
      connect({ ...options, ...(hostKeys && { hostKeys }), target: '127.0.0.1:1' }),
    )
    // It was let in: what failed is the stream.
    expect(refused).toMatchObject({ phase: 'channel' })
  })

  it('finds the agent of the environment when told to, and takes none unasked', async () => {
    const agent = await startAgent()
    agent.add((await clientKey()).path)
    const { SSH_AUTH_SOCK: before } = process.env
    process.env.SSH_AUTH_SOCK = agent.socket
    try {
      discard(await connect((await by(true)).options))
      expect(await fails(undefined)).toMatchObject({
        code: 'ERR_ALKNET_CONFIG',
        hint: expect.stringContaining('agent'),
      })
      expect(await fails(false)).toMatchObject({ code: 'ERR_ALKNET_CONFIG' })
      delete process.env.SSH_AUTH_SOCK
      expect(await fails(true)).toMatchObject({
        code: 'ERR_ALKNET_CONFIG',
        hint: expect.stringContaining('SSH_AUTH_SOCK'),
      })
    } finally {
      if (before === undefined) delete process.env.SSH_AUTH_SOCK
      else process.env.SSH_AUTH_SOCK = before
    }
  })

  it('says when the agent is gone, has no keys, has none that is let in, or does not sign', async () => {
    const agent = await startAgent()
    expect(await fails(agent.socket)).toMatchObject({
      code: 'ERR_ALKNET_AUTH_REJECTED',
      message: expect.stringContaining('no keys'),
      hint: expect.stringContaining('ssh-add'),
    })
    agent.add((await strangerKey()).path)
    expect(await fails(agent.socket)).toMatchObject({
      code: 'ERR_ALKNET_AUTH_REJECTED',
      message: expect.stringContaining('none of 1 keys'),
    })
    agent.add('-D')
    agent.add('-c', (await clientKey()).path)
    expect(await fails(agent.socket)).toMatchObject({
      code: 'ERR_ALKNET_AUTH_REJECTED',
      message: expect.stringContaining('did not sign'),
    })
    agent.program.kill()
    await agent.program.exit
    expect(await fails(agent.socket)).toMatchObject({ code: 'ECONNREFUSED', phase: 'auth' })
    const nowhere = join(scratch(), 'no-agent')
    expect(await fails(nowhere)).toMatchObject({ code: 'ENOENT', phase: 'auth' })
  })

  it('logs in at servers on the way, too', async () => {
    const agent = await startAgent()
    agent.add((await clientKey()).path)
    const { server, options } = await by(agent.socket)
    const { connectionString } = await startServer({ forwarding: true })
    const accepted = nextConnection(server)
    const client = discard(await connect({ ...options, jump: connectionString }))
    await say(client, (await accepted).stream, 'through')
  })
})

describe('agent', () => {
  it('contradicts a key', async () => {
    const identity = (await clientKey()).path
    const { options } = await by('/tmp/agent')
    expect(await rejection(connect({ ...options, identity }))).toMatchObject({
      code: 'ERR_ALKNET_CONFIG',
    })
  })

  it.each([1, null, {}])('is a boolean or a path, not %j', async (agent) => {
    const failed = await fails(agent as unknown as string)
    expect(failed).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' })
  })
})
