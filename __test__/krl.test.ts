import { execFile } from 'node:child_process'
import { appendFileSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { connect } from '../index.js'
import { closing, discard, reach, rejection, sink, startServer } from './support/alknet.js'
import { certify } from './support/certificates.js'
import { memo } from './support/cleanup.js'
import { type KeyPair, makeKey, scratch } from './support/keys.js'

// Binary lists of what is revoked, made and judged by ssh-keygen.

const run = promisify(execFile)

/** Who logs in: two certificates of one authority and one of another, and plain keys. */
const people = memo(async () => {
  const [ours, others] = [await makeKey('krl-ca'), await makeKey('krl-other-ca')]
  const certified = async (name: string, ca: KeyPair, serial: string, id: string) => {
    const key = await makeKey(name)
    const certificate = await certify(ca, key, ['-n', 'alknet', '-z', serial, '-I', id])
    copyFileSync(certificate, `${key.path}-cert.pub`)
    return { name, key, shown: certificate }
  }
  const plain = async (name: string, type: string[]) => {
    const key = await makeKey(name, type)
    return { name, key, shown: key.publicPath }
  }
  const subjects = [
    await certified('krl-seven', ours, '7', 'anna’s laptop'),
    await certified('krl-many', ours, '1003', 'the server'),
    await certified('krl-foreign', others, '7', 'anna’s laptop'),
    await certified('krl-uncounted', ours, '0', 'no number'),
    await plain('krl-plain', ['-t', 'ed25519']),
    await plain('krl-rsa', ['-t', 'rsa', '-b', '2048']),
  ]
  return { ours, others, subjects }
})

const of = async (name: string) => {
  const found = (await people()).subjects.find((subject) => subject.name === name)
  return found?.key.publicKey.trim() ?? ''
}

let made = 0

/** A list for `text`, in the words of `ssh-keygen`, and of what `ca` has signed. */
async function list(text: string, ca?: string, args: readonly string[] = []): Promise<string> {
  made += 1
  const [path, words] = [join(scratch(), `list-${made}.krl`), join(scratch(), `list-${made}`)]
  writeFileSync(words, `${text}\n`)
  await run('ssh-keygen', ['-q', '-k', '-f', path, ...args, ...(ca ? ['-s', ca] : []), words])
  return path
}

/** A server that would let everybody in. */
async function startFor(revokedKeys: string) {
  const { ours, others, subjects } = await people()
  return startServer({
    authorizedKeys: Buffer.from(
      subjects
        .slice(-2)
        .map(({ key }) => key.publicKey)
        .join('\n'),
    ),
    certAuthority: Buffer.from(`${ours.publicKey}\n${others.publicKey}\n`),
    revokedKeys,
    limits: { penalties: false },
  })
}

it('lists are judged as ssh-keygen judges them', async () => {
  const { ours, others, subjects } = await people()
  const spread = Array.from({ length: 40 }, (_, at) => `serial: ${at * 17 + 3}`).join('\n')
  const lists = await Promise.all([
    list(await of('krl-plain')),
    list(await of('krl-seven')),
    list(`sha1: ${await of('krl-rsa')}\nsha256: ${await of('krl-many')}`),
    list(`sha256: ${await of('krl-plain')}`, undefined, ['-z', '9']),
    list(ours.publicKey),
    list('serial: 7', ours.publicPath),
    list('serial: 7', others.publicPath),
    list('serial: 7\nserial: 18446744073709551615', 'none'),
    list('serial: 5-2000', ours.publicPath),
    list(`${spread}\nserial: 1000-1010\nserial: 5000000`, ours.publicPath),
    list(spread, ours.publicPath),
    list('id: anna’s laptop', ours.publicPath),
    list('id: anna’s laptop\nid: no number', 'none'),
    list('# nothing'),
  ])
  const verdicts = lists.map(async (revoked) => {
    const to = await reach(await startFor(revoked))
    const judged = subjects.map(async ({ name, key, shown }) => {
      const asked = run('ssh-keygen', ['-Q', '-f', revoked, shown])
      const theirs = await asked.then(
        () => 'ok',
        ({ stdout }) => (/REVOKED/.test(stdout) ? 'REVOKED' : stdout),
      )
      const attempt = connect({ ...to, identity: key.path })
      const ours = await attempt.then(
        (client) => discard(client) && 'ok',
        ({ code }) => (code === 'ERR_ALKNET_AUTH_REJECTED' ? 'REVOKED' : code),
      )
      return { name, theirs, ours }
    })
    return Promise.all(judged)
  })
  const all = (await Promise.all(verdicts)).flat()
  expect(all.map(({ name, ours }) => [name, ours])).toEqual(
    all.map(({ name, theirs }) => [name, theirs]),
  )
  const revoked = all.filter(({ theirs }) => theirs === 'REVOKED')
  expect([...new Set(revoked.map(({ name }) => name))].sort()).toEqual(
    subjects.map(({ name }) => name).sort(),
  )
}, 60_000)

it('a list that grows ends the session of who is in it', async () => {
  const revoked = await list('serial: 1', (await people()).ours.publicPath)
  const server = await startFor(revoked)
  const identity = `${(await people()).subjects[0]?.key.path}`
  const lost = closing(sink(discard(await connect({ ...(await reach(server)), identity }))))
  const more = join(scratch(), 'more')
  writeFileSync(more, 'serial: 7\n')
  await run('ssh-keygen', [
    '-q',
    '-k',
    '-u',
    '-f',
    revoked,
    '-s',
    (await people()).ours.publicPath,
    more,
  ])
  await server.reload()
  expect((await lost)?.message).toContain('may no longer log in: the certificate is revoked')
})

it('a list that is damaged is refused as a whole, and changes nothing while a server runs', async () => {
  const path = await list('serial: 7', (await people()).ours.publicPath)
  const whole = readFileSync(path)
  const server = await startFor(path)
  appendFileSync(path, 'x')
  expect(await rejection(server.reload())).toMatchObject({
    code: 'ERR_ALKNET_KEY_INVALID',
    message: expect.stringContaining('it ends too early'),
  })
  for (const cut of [9, 20, whole.length - 1]) {
    const revokedKeys = Buffer.from(whole.subarray(0, cut))
    const refused = await rejection(startServer({ revokedKeys }))
    expect(refused).toMatchObject({ code: 'ERR_ALKNET_KEY_INVALID', phase: 'config' })
  }
})
