import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, vi } from 'vitest'
import { connect, createAlknetEventTarget } from '../index.js'
import { discard } from './support/alknet.js'
import { plainEnv } from './support/cli.js'
import { clientKey, hostKey } from './support/keys.js'
import { type Program, start } from './support/program.js'

const bin = fileURLToPath(new URL('../bin/alknet.js', import.meta.url))
const run = (...args: string[]): Program =>
  start(process.execPath, [bin, ...args], { env: plainEnv })

interface Listening {
  connectionString: string
  addresses: string[]
}

/** `alknet serve --bus`, and how clients reach it. */
async function serveBus() {
  const [host, client] = await Promise.all([hostKey(), clientKey()])
  const keys = ['--key', host.path, '--authorized-keys', client.publicPath]
  const bus = ['--bus', '--metrics', '127.0.0.1:0']
  const program = run('serve', ...keys, '--listen', '127.0.0.1:0', '--json', ...bus)
  const { connectionString } = await program.json<Listening>()
  const metrics = await program.json<Listening>()
  const counted = async (name: string) => {
    const text = await (await fetch(`http://${metrics.addresses[0]}/metrics`)).text()
    return Number(new RegExp(`^alknet_bus_${name} (\\d+)$`, 'm').exec(text)?.[1])
  }
  return { where: [connectionString, '-i', client.path], connectionString, counted }
}

const publish = (input: string, ...args: string[]) =>
  spawnSync(process.execPath, [bin, 'bus', 'publish', ...args], {
    env: plainEnv,
    encoding: 'utf8',
    input,
  })

describe('alknet bus', () => {
  it('shows nothing that a terminal would obey', async () => {
    const { where, counted } = await serveBus()
    const plain = run('bus', 'tail', ...where, '-n', '1')
    const json = run('bus', 'tail', ...where, '-n', '1', '--json')
    await vi.waitFor(async () => expect(await counted('subscriptions')).toBe(2), 10_000)
    const topic = 'a\u001b]0;title\u0007\nb\u009b2J'
    expect(publish('', ...where, topic, '"\u007f\u009b5n\\u001b[c"').status).toBe(0)
    const shown = 'a\\u{1b}]0;title\\u{7}\\nb\\u{9b}2J "\\u{7f}\\u{9b}5n\\u001b[c"'
    expect(await plain.line()).toBe(shown)
    const line = await json.line()
    expect(line).not.toMatch(/\p{Cc}/u)
    expect(JSON.parse(line)).toMatchObject({ type: topic, payload: '\u007f\u009b5n\u001b[c' })
  })

  it('publishes arguments and lines, and tails some topics or all', async () => {
    const { where, connectionString, counted } = await serveBus()
    const some = run('bus', 'tail', ...where, 'news', 'chat:7', '-n', '3', '--json')
    const all = run('bus', 'tail', ...where, '-n', '4')
    await vi.waitFor(async () => expect(await counted('subscriptions')).toBe(3), 10_000)
    expect(publish('', ...where, 'other', '1')).toMatchObject({ status: 0, stdout: '', stderr: '' })
    expect(publish('', ...where, 'chat', '"hello"', '--id', '7').status).toBe(0)
    expect(publish('{"n":1}\n\n[2]\n', ...where, 'news').status).toBe(0)
    const from = (await clientKey()).fingerprint
    const envelopes = [await some.json(), await some.json(), await some.json()]
    expect(envelopes).toEqual([
      { type: 'chat', id: '7', payload: 'hello', from },
      { type: 'news', id: '', payload: { n: 1 }, from },
      { type: 'news', id: '', payload: [2], from },
    ])
    const lines = [await all.line(), await all.line(), await all.line(), await all.line()]
    expect(lines).toEqual(['other 1', 'chat:7 "hello"', 'news {"n":1}', 'news [2]'])
    expect(await some.exit).toMatchObject({ code: 0 })
    expect(await all.exit).toMatchObject({ code: 0 })
    // Programs are members like any other.
    const identity = (await clientKey()).path
    const target = createAlknetEventTarget({
      stream: discard(await connect(connectionString, { identity })),
    })
    const news = target.subscribe('news')
    expect(await target.ready('news')).toBe(true)
    expect(publish('', ...where, 'news', '3').status).toBe(0)
    expect((await news.next()).value?.detail).toBe(3)
    expect(await counted('published_total')).toBe(5)
  })

  it('says what is no payload, and what is not done', async () => {
    const { where } = await serveBus()
    const bad = publish('', ...where, 'news', 'hello')
    expect(bad).toMatchObject({ status: 8, stdout: '' })
    expect(bad.stderr).toContain('a text needs its own quotes')
    const reserved = run('bus', 'tail', ...where, '__secret')
    expect(await reserved.exit).toMatchObject({ code: 6 })
    expect(reserved.stderr).toContain('reserved')
  })
})
