import { spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { serveAlknet } from './support/cli.js'
import { binary, home, npm } from './support/forwarder.js'
import { clientKey } from './support/keys.js'
import { sit } from './support/terminal.js'

/** What a terminal is told to be anew, and what comes then. */
const anew = (then: string) => new RegExp(`\u001b\\[H\u001b\\[J${then}`, 's')

/** Runs a program whose reader leaves: at once, or after one line. Gives the program's exit code. */
function unread(words: readonly string[], reader: string, env = process.env): number {
  const script = ['"$@" |', reader, '>/dev/null; exit "$', '{PIPESTATUS[0]}"'].join('')
  const done = spawnSync('bash', ['-c', script, 'bash', ...words], { env, timeout: 20_000 })
  if (done.signal) throw new Error(`${words.join(' ')} lives on`)
  return done.status as number
}

describe('alknet forward status --watch', () => {
  it('shows what changes on a terminal, and leaves it at Ctrl-C', async () => {
    const { env, json } = home()
    json(['start', '--name', 'web', '--listen-port', '0'])
    const seat = sit([...binary, 'status', '--watch'], { cols: 120, env: { ...env, NO_COLOR: '' } })
    const heading = 'FORWARDER [^\r]*\r\n'
    await seat.sees(anew(`${heading}web +\u001b\\[32mrunning`))
    json(['start', '--name', 'api', '--listen-port', '0'])
    await seat.sees(anew(`${heading}api .*\nweb `))
    json(['stop', 'api'])
    await seat.sees(anew(`${heading}web `))
    seat.type('\u0003')
    expect(await seat.ended()).toEqual({ code: 0, same: true })
  })

  it('has no colours where they are not wanted', async () => {
    const { env, json } = home()
    json(['start', '--name', 'web', '--listen-port', '0'])
    const plain = { ...env, NO_COLOR: '1' }
    const seat = sit([...binary, 'forward', 'status', '-w'], { cols: 120, env: plain })
    await seat.sees(/web +running.*web +running/s)
    seat.type('\u0003')
    expect(await seat.ended()).toMatchObject({ code: 0 })
  })

  it('answers for what it saw last when it is asked for an exit code', async () => {
    const { env } = home()
    const seat = sit([...binary, 'status', '--watch', '--exit-code'], { cols: 120, env })
    await seat.sees(/stopped/)
    seat.type('\u0003')
    expect(await seat.ended()).toMatchObject({ code: 3 })
  })
})

describe('what only shows ends when nobody reads any more', () => {
  it.each([
    ['the program', binary],
    ['the package', npm],
  ])('%s', async (_name, program) => {
    const { env, json } = home()
    json(['start', '--name', 'web', '--listen-port', '0'])
    expect(unread([...program, 'status', '--watch'], 'head -n 1', env)).toBe(141)
    // There is nothing new in the log, to find out by.
    expect(unread([...program, 'forward', 'logs', 'web', '-f'], 'head -n 1', env)).toBe(141)
  })

  it('a tail of events, also while none come', async () => {
    const served = await serveAlknet(['--bus'])
    const { path } = await clientKey()
    const where = [served.connectionString as string, '-i', path]
    expect(unread([...binary, 'bus', 'tail', ...where], 'true')).toBe(141)
  })
})
