import { describe, expect, it } from 'vitest'
import { openTunnel } from '../index.js'
import { discard, rejection } from './support/alknet.js'
import { receive, say, send } from './support/bytes.js'
import { env, file, listening, program, run, secret, smallAgent, task } from './support/chain.js'
import { afterwards } from './support/cleanup.js'
import { startEcho } from './support/net.js'
import { start } from './support/program.js'
import { sit } from './support/terminal.js'
import { certificate, makeCertificate } from './support/transports.js'

const host = { token: 'host-0123456789abc' }
const ann = { token: 'ann-0123456789abcd', tasks: ['5'] }

/** A runner and a host on every address, with TLS and tokens, and an agent. */
async function chain(client = [program, 'tunnel', 'agent']) {
  const { tlsCert, tlsKey } = await certificate()
  const trust = ['--tls-ca', tlsCert]
  const tokens = file({ agents: { '*': 'agents-0123456789' }, users: { host, ann } })
  const own = ['--tls-cert', tlsCert, '--tls-key', tlsKey, '--tokens', tokens]
  const port = (at: string) => at.split(':').pop()
  const runner = run('tunnel', 'runner', '--listen', '*:0', '--json', ...own)
  const at = `wss://localhost:${port(await listening(runner))}`
  const [agentProgram = program, ...words] = client
  const named = ['-r', at, '-c', 'kohakuriver-task-5', '--json', ...trust]
  const agent = start(agentProgram, [...words, ...named, ...secret('agents-0123456789')], { env })
  expect(await agent.json()).toMatchObject({ event: 'up' })
  const nodes = { n1: { url: at, token: host.token } }
  const registry = file({ nodes, tasks: { 5: task(), 6: task() } })
  const listen = ['--listen', '*:0', '--ssh-listen', 'none', '--registry', registry, '--json']
  const entry = run('tunnel', 'host', ...listen, ...own, ...trust)
  return { entry: `wss://localhost:${port(await listening(entry))}`, tlsCert, trust, at }
}

describe('a tunnel over TLS', () => {
  it('reaches a container through every piece, over any network', async () => {
    const echo = await startEcho()
    const { entry, tlsCert, trust } = await chain()
    const tunnel = await openTunnel({ host: entry, task: 5, token: ann.token, tlsCa: tlsCert })
    afterwards(() => tunnel.close())
    const stream = discard(await tunnel.open(echo.port))
    await say(stream, stream, 'covered')
    const words = ['forward', '5', `${echo.port}`, '-l', '0', '--json', ...trust]
    const forward = run('tunnel', '-H', entry, ...words, ...secret(ann.token))
    expect(await listening(forward)).toContain(':')
  })

  it('carries 5 MB there and back by the agent that is nothing else', async () => {
    const echo = await startEcho()
    const { entry, tlsCert } = await chain([smallAgent])
    const tunnel = await openTunnel({ host: entry, task: 5, token: ann.token, tlsCa: tlsCert })
    afterwards(() => tunnel.close())
    const stream = discard(await tunnel.open(echo.port))
    await Promise.all([send(stream, 5_000_000), receive(stream, 5_000_000)])
  })

  it.each([
    ['', [program, 'tunnel', 'agent']],
    [', of the agent that is nothing else too', [smallAgent]],
  ])('has terminals, with their size and their end%s', async (_, client) => {
    const { entry, trust } = await chain(client)
    const words = [program, 'tunnel', '-H', entry, 'connect', '5', ...trust, ...secret(ann.token)]
    const seat = sit(words, { env, rows: 31, cols: 97 })
    seat.type('stty size\r')
    await seat.sees(/31 97\r\n/)
    seat.type('exit 3\r')
    expect(await seat.ended()).toEqual({ code: 3, same: true })
  })

  it('believes nobody but whom it is to believe', async () => {
    const { entry, tlsCert, at } = await chain()
    const other = await makeCertificate('not-theirs', 'DNS:localhost')
    const to = { task: 5, token: ann.token }
    for (const tlsCa of [undefined, other.tlsCert]) {
      const error = await rejection(openTunnel({ ...to, host: entry, ...(tlsCa && { tlsCa }) }))
      expect(error).toMatchObject({ code: 'ERR_ALKNET_TLS', phase: 'tls' })
      expect(error).toMatchObject({ hint: expect.not.stringContaining('insecure') })
    }
    const named = { ...to, host: entry, tlsCa: tlsCert, tlsServerName: 'other.example' }
    expect(await rejection(openTunnel(named))).toMatchObject({ code: 'ERR_ALKNET_TLS' })
    // A token goes nowhere without TLS, and who is not known nowhere at all.
    const plain = { ...to, host: entry.replace('wss:', 'ws:') }
    expect(await rejection(openTunnel(plain))).not.toMatchObject({ code: 'ERR_ALKNET_CONFIG' })
    const stranger = { host: entry, task: 6, token: ann.token, tlsCa: tlsCert }
    expect(await rejection(openTunnel(stranger))).toMatchObject({
      code: 'ERR_ALKNET_AUTH_REJECTED',
    })
    const agent = ['tunnel', 'agent', '-r', at, '-c', 'x', '--max-reconnect', '1']
    const { code, stderr } = await run(...agent).exit
    expect([code, stderr.includes('TLS')]).toEqual([1, true])
  })

  it('is not begun with half of what it takes', async () => {
    const { tlsCert, tlsKey } = await certificate()
    const own = ['--tls-cert', tlsCert, '--tls-key', tlsKey]
    const open = run('tunnel', 'runner', '--listen', '*:0', ...own)
    expect((await open.exit).stderr).toContain('--tokens')
    const tokens = ['--tokens', file({ agents: {}, users: {} })]
    const clear = run('tunnel', 'runner', '--listen', '*:0', ...tokens)
    expect((await clear.exit).stderr).toContain('--tls-cert')
    const half = run('tunnel', 'runner', '--listen', '127.0.0.1:0', '--tls-cert', tlsCert)
    expect(await half.exit).toMatchObject({ code: 2 })
  })
})
