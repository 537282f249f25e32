import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { alknetProgram, plainEnv, serveAlknet } from './support/cli.js'
import { clientKey, scratch } from './support/keys.js'
import { sit } from './support/terminal.js'

const question = /Is that the server's key\?.*itself\) $/s

let count = 0

/** `alknet connect` in a terminal, at a server that this file knows nothing of, and where it would be written down. */
async function newcomer(...args: string[]) {
  const { server, hostKey } = await serveAlknet()
  const knownHosts = path.join(scratch(), `known_hosts_${count++}`)
  const words = ['connect', server, '-i', (await clientKey()).path, '--known-hosts', knownHosts]
  const connect = () => sit([alknetProgram, ...words, ...args], { cols: 200, env: plainEnv })
  return { connect, knownHosts, fingerprint: hostKey.fingerprint }
}

describe('alknet connect in a terminal, at a server that nobody knows', () => {
  it.each(['yes', 'the fingerprint'])('asks, and with %s writes it down', async (answer) => {
    const { connect, knownHosts, fingerprint } = await newcomer()
    const first = connect()
    await first.sees(question)
    first.type(`${answer === 'yes' ? answer : fingerprint}\r`)
    await first.sees(/connected to/)
    first.type('\u0003')
    expect(await first.ended()).toMatchObject({ code: 0 })
    expect(readFileSync(knownHosts, 'utf8')).toMatch(/^\|1\|\S+ ssh-ed25519 \S+\n$/)
    const second = connect()
    await second.sees(/^ready\r?\n.*connected to/s)
    second.type('\u0003')
    expect(await second.ended()).toMatchObject({ code: 0 })
  })

  it.each(['no', '', 'y', 'SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'])(
    'takes %j for a no',
    async (answer) => {
      const { connect, knownHosts } = await newcomer()
      const seat = connect()
      await seat.sees(question)
      seat.type(`${answer}\r`)
      expect(await seat.ended()).toMatchObject({ code: 5 })
      expect(existsSync(knownHosts)).toBe(false)
    },
  )

  it('is left by Ctrl-C', async () => {
    const { connect, knownHosts } = await newcomer()
    const seat = connect()
    await seat.sees(question)
    seat.type('\u0003')
    expect(await seat.ended()).toMatchObject({ same: true })
    expect(existsSync(knownHosts)).toBe(false)
  })

  it.each([
    [['--trust', 'strict']],
    [['-o', 'StrictHostKeyChecking=yes']],
    [['-o', 'BatchMode=yes']],
    [['--json']],
  ])('does not ask with %j', async (args) => {
    const { connect } = await newcomer(...args)
    expect(await connect().ended()).toMatchObject({ code: 5 })
  })
})
