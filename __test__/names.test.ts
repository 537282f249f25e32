import { spawnSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { type AlknetSession, openSession } from '../index.js'
import { afterwards } from './support/cleanup.js'
import { serveAlknet } from './support/cli.js'
import { clientKey, scratch } from './support/keys.js'
import { type Lack, lackOf, leftOut } from './support/lacking.js'

/** Runs a command for which this machine asks another name server. */
const UNDER = ['unshare', '-m', 'sh', '-c', 'mount --bind "$0" /etc/resolv.conf && exec "$@"']

function lackOfMounts(): Lack | undefined {
  const [word, ...words] = [...UNDER, '/etc/hosts', 'true']
  const tried = spawnSync(word as string, words, { encoding: 'utf8' })
  return tried.status === 0 ? undefined : lackOf('mounts', tried)
}

/** A name server that never answers: how many names it was asked for. */
async function silent() {
  const names = new Set<string>()
  const socket = createSocket('udp4')
  const address = `127.53.${process.pid % 250}.${1 + (process.ppid % 250)}`
  // The name begins behind the header and a length (RFC 1035 §4.1.2).
  socket.on('message', (question) => names.add(question.subarray(12, 20).toString('latin1')))
  socket.bind(53, address)
  await once(socket, 'listening')
  afterwards(() => void socket.close())
  const file = path.join(scratch(), 'resolv.conf')
  writeFileSync(file, `nameserver ${address}\noptions timeout:30 attempts:1\n`)
  return { names, file }
}

const name = 'names that nobody knows'

describe.skipIf(leftOut(name, lackOfMounts()))(name, () => {
  it('keep nobody from logging in, however many are asked for', async () => {
    const { names, file } = await silent()
    const { server, hostKey } = await serveAlknet([], { under: [...UNDER, file] })
    const to = { server, hostKeys: hostKey.fingerprint, identity: (await clientKey()).path }
    const enter = async () => {
      const session = await openSession(to)
      afterwards(() => session.close())
      return session
    }
    const ask = (session: AlknetSession, of: number) =>
      Array.from({ length: 256 }, (_, i) => {
        const asked = session.open(`n${of}x${100 + i}.example:80`)
        return asked.catch(() => {})
      })
    // Three times as many as a session may ask for at once, and more than there are threads for.
    for (const of of [1, 2, 3]) ask(await enter(), of)
    await expect.poll(() => names.size, { timeout: 15_000 }).toBeGreaterThanOrEqual(100)
    const late = await enter()
    // What needs no name server is not kept waiting either.
    const refused = late.open('127.0.0.1:1').then(
      () => 'opened',
      (error: Error) => error,
    )
    expect(await refused).toMatchObject({ code: 'ECONNREFUSED' })
  })
})
