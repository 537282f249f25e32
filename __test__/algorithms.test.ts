import { execFile } from 'node:child_process'
import { connect as tcpConnect } from 'node:net'
import { expect, it } from 'vitest'
import { openSession } from '../index.js'
import { reach, startServer } from './support/alknet.js'
import { startTcp } from './support/net.js'
import { describeWith, peerPath } from './support/peers.js'
import { MSG } from './support/raw-ssh.js'

interface Algorithm {
  algorithm: string
  notes?: { fail?: string[]; warn?: string[] }
}

interface Report {
  enc: Algorithm[]
  kex: Algorithm[]
  key: Algorithm[]
  mac: Algorithm[]
}

/** What ssh-audit has to say, and with which exit code: 0 nothing, 2 warnings, 3 failures. */
function audit(server: string): Promise<{ code: number; report: Report }> {
  const program = peerPath('ssh-audit')
  return new Promise((resolve, reject) => {
    execFile(program, ['-j', '--skip-rate-test', server], (error, stdout) => {
      const code = typeof error?.code === 'number' ? error.code : 0
      if (code === 1 || stdout === '') reject(error ?? new Error('no report'))
      else resolve({ code, report: JSON.parse(stdout) as Report })
    })
  })
}

describeWith('ssh-audit', 'a server that ssh-audit looks at', () => {
  it('offers nothing that it finds fault with, but what is there for clients without post-quantum', async () => {
    // It connects again and again and never logs in.
    const limits = { penalties: false, maxHandshakesPerSource: 1_000 } as const
    const server = await startServer({ limits })
    const { code, report } = await audit(server.addresses[0] ?? '')
    const all = [...report.kex, ...report.key, ...report.enc, ...report.mac]
    expect(report.kex[0]?.algorithm).toBe('mlkem768x25519-sha256')
    expect(all.flatMap(({ notes }) => notes?.fail ?? [])).toEqual([])
    const warned = all.filter(({ notes }) => notes?.warn)
    expect(warned.map(({ algorithm }) => algorithm)).toEqual([
      'curve25519-sha256',
      'curve25519-sha256@libssh.org',
    ])
    for (const { notes } of warned) {
      expect(notes?.warn).toEqual(['does not provide protection against post-quantum attacks'])
    }
    expect(code).toBe(2)
  })
})

it('alknet and alknet agree on a post-quantum key exchange', async () => {
  const server = await startServer()
  const options = await reach(server)
  const [host, port] = options.server.split(':')
  let said = Buffer.alloc(0)
  const listener = await startTcp((near) => {
    const far = tcpConnect(Number(port), host).on('error', () => {})
    near.on('data', (chunk) => {
      said = Buffer.concat([said, chunk])
    })
    near.pipe(far).pipe(near)
  })
  await (await openSession({ ...options, server: listener.server })).close()
  // Identification, KEXINIT, then the client's half of the exchange: ML-KEM 768's 1184 bytes and X25519's 32.
  const kexinit = said.indexOf('\n') + 1
  const init = kexinit + 4 + said.readUInt32BE(kexinit)
  expect(said[kexinit + 5]).toBe(MSG.KEXINIT)
  expect(said[init + 5]).toBe(MSG.ECDH_INIT)
  expect(said.readUInt32BE(init + 6)).toBe(1184 + 32)
})
