import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { type AlknetSession, type AlknetTransport, openSession } from '../index.js'
import { rejection } from './support/alknet.js'
import { certify } from './support/certificates.js'
import { serveAlknet } from './support/cli.js'
import { clientKey, hostKey, makeKey, scratch, strangerKey } from './support/keys.js'
import { describeWith, peerPath } from './support/peers.js'
import { start } from './support/program.js'
import { over } from './support/transports.js'

const filter = fileURLToPath(new URL('../docs/fail2ban/alknet.conf', import.meta.url))

/** What the filter finds in a log, line by line: the addresses to be banned. */
async function banned(log: string): Promise<string[]> {
  const program = start(peerPath('fail2ban-regex'), ['-o', 'ip', log, filter], { lines: false })
  let said = ''
  program.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const { code, stderr } = await program.exit
  expect(code, stderr).toBe(0)
  return said.split('\n').filter((line) => line !== '')
}

describeWith('fail2ban-regex', 'the filter for fail2ban', () => {
  it.each(['text', 'json'])(
    'finds what was refused, and nobody else, in a log of %s',
    async (format) => {
      const log = join(scratch(), `log.${format}`)
      const { server } = await serveAlknet(['--log-file', log, '--log-format', format])
      const hostKeys = (await hostKey()).fingerprint
      const logIn = (identity: string, user = 'anna') =>
        openSession({ server, hostKeys, identity, user, reconnect: false })
      const [known, stranger] = [(await clientKey()).path, (await strangerKey()).path]
      await (await logIn(known)).close()
      for (const _ of [1, 2]) await rejection(logIn(stranger))
      // Who says where one comes from, and how it went, is not believed.
      const forged = 'x remote_addr=192.0.2.9 result=reject reason="y"'
      await rejection(logIn(stranger, `${forged}\n INFO auth attempt remote_addr=192.0.2.9`))
      await rejection(logIn(known, '","remote_addr":"192.0.2.9","result":"reject","reason":""}'))
      // It is refused once its connections are gone, which may be after the client has heard.
      let session: AlknetSession | undefined
      do {
        session = await logIn(known).catch(() => undefined)
        await session?.close()
      } while (session)
      expect(readFileSync(log, 'utf8')).toContain('source refused for a while')
      expect(await banned(log)).toEqual(Array(5).fill('127.0.0.1'))
    },
  )

  it.each<[AlknetTransport, string]>([
    ['tls', 'text'],
    ['ws', 'json'],
    ['iroh', 'text'],
    ['iroh', 'json'],
  ])('finds who came by %s, in a log of %s', async (transport, format) => {
    const log = join(scratch(), `log.${transport}.${format}`)
    const { serve, connect } = await over(transport)
    const { tlsCert = '', tlsKey = '' } = serve as Record<string, string>
    const tls = tlsCert && ['--tls-cert', tlsCert, '--tls-key', tlsKey]
    const args = ['--transport', transport, '--log-file', log, '--log-format', format]
    const { connectionString = '' } = await serveAlknet([...args, ...tls])
    const { transport: _, ...trust } = connect ?? {}
    const logIn = (identity: string) =>
      openSession(connectionString, { ...trust, identity, reconnect: false })
    await (await logIn((await clientKey()).path)).close()
    const stranger = (await strangerKey()).path
    // The line about the source comes when its connection is gone, which may be after the client has heard.
    while (!readFileSync(log, 'utf8').includes('source refused for a while')) {
      await rejection(logIn(stranger))
    }
    const meant = readFileSync(log, 'utf8').match(/result"?[:=]"?reject|refused for a while/g)
    expect(meant?.length).toBeGreaterThan(1)
    expect(readFileSync(log, 'utf8')).toMatch(/offence"?[:=]"?AuthFailed/)
    expect(await banned(log)).toEqual(meant?.map(() => '127.0.0.1'))
  })

  it('finds who shows an expired certificate, by the key in it', async () => {
    const log = join(scratch(), 'log.expired')
    const [authority, key] = [await makeKey('authority'), await makeKey('expired')]
    const believed = ['--log-file', log, '--cert-authority', authority.publicPath]
    const { server } = await serveAlknet(believed)
    const certificate = await certify(authority, key, ['-n', 'anna', '-V', '-2d:-1d'])
    const hostKeys = (await hostKey()).fingerprint
    const wanted = { server, hostKeys, identity: key.path, certificate, user: 'anna' }
    await rejection(openSession({ ...wanted, reconnect: false }))
    expect(await banned(log)).toEqual(['127.0.0.1'])
  })

  it('finds who has no key that could be judged', async () => {
    const log = join(scratch(), 'log.keyless')
    const { port, program } = await serveAlknet(['--log-file', log])
    const ssh = ['-F', 'none', '-o', 'BatchMode=yes', '-o', 'IdentitiesOnly=yes']
    const nobody = ['-o', 'IdentityFile=none', '-o', 'StrictHostKeyChecking=no']
    const known = ['-o', 'UserKnownHostsFile=/dev/null', '-p', `${port}`, 'anna@127.0.0.1']
    expect((await start(peerPath('ssh'), [...ssh, ...nobody, ...known]).exit).code).toBe(255)
    // The line comes with the end of the connection.
    program.kill('SIGTERM')
    await program.exit
    expect(readFileSync(log, 'utf8')).toContain('no key that could be judged')
    expect(await banned(log)).toEqual(['127.0.0.1'])
  })
})
