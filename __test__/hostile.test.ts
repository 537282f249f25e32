import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type AlknetConnectOptions, connect } from '../index.js'
import { discard } from './support/alknet.js'
import { text as read } from './support/bytes.js'
import { clientKey, scratch } from './support/keys.js'
import { type Program, startNode } from './support/program.js'
import { clear, kexinit, MSG, message, RawSsh, rawKey, text, u32 } from './support/raw-ssh.js'

const key = rawKey()
const stranger = rawKey()
let program: Program
let reach: AlknetConnectOptions & { server: string }

// A process of its own: what is measured is it, and what would crash is it too.
beforeAll(async () => {
  const own = await clientKey()
  const authorizedKeys = join(scratch(), 'authorized_keys')
  writeFileSync(authorizedKeys, `${own.publicKey}\n${key.line}\n`)
  const limits = { penalties: false, maxHandshakesPerSource: 10_000, maxUnauthenticated: 1_000 }
  program = startNode('serve', [authorizedKeys, 'echo', JSON.stringify({ limits })])
  reach = { ...(await program.json()), identity: own.path }
  await canary()
})

/** A good client, which must be served whatever went before. */
async function canary(): Promise<void> {
  const stream = discard(await connect(reach))
  stream.end('still here?')
  expect(await read(stream)).toBe('still here?')
}

const raw = (ident?: string) => new RawSsh(reach.server, ident === undefined ? {} : { ident })

/** The server's resident memory in bytes. */
function resident(): number {
  const status = readFileSync(`/proc/${program.pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1024
}

// None of these is left to the deadline for logging in, which is 20 s: a test has less.
const AT_ONCE = 8_000

type Attack = readonly [string, (ssh: RawSsh) => unknown]

/** Each attack ends its connection, and nothing else. */
function endsAtOnce(attacks: readonly Attack[]): void {
  it.each(attacks)(
    '%s',
    async (_what, attack) => {
      const ssh = raw()
      await attack(ssh)
      await ssh.closed
      await canary()
    },
    AT_ONCE,
  )
}

describe('a connection ends at once that begins with', () => {
  endsAtOnce([
    ['SSH 1', (ssh) => ssh.write('SSH-1.5-old\r\n')],
    ['an empty line', (ssh) => ssh.write('\r\nSSH-2.0-x\r\n')],
    ['HTTP', (ssh) => ssh.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
    ['TLS', (ssh) => ssh.write(Buffer.from('160301020001000001fc0303', 'hex'))],
    ['zeros', (ssh) => ssh.write(Buffer.alloc(64))],
    ['a line of 10 KB', (ssh) => ssh.write(`SSH-2.0-${'x'.repeat(10_000)}\r\n`)],
    ['a line that never ends', (ssh) => ssh.write(`SSH-2.0-${'x'.repeat(255)}`)],
    ['bytes that are no text', (ssh) => ssh.write(Buffer.from('SSH-2.0-\xff\xfe\r\n', 'latin1'))],
  ])
})

it('takes an identification that comes byte by byte, without a carriage return', async () => {
  const ssh = raw()
  for (const byte of `${ssh.ident}\n`) {
    ssh.write(byte)
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(await ssh.hear()).toBe('SSH-2.0-alknet_0')
  ssh.send(kexinit())
  expect(await ssh.expect(MSG.KEXINIT)).toBeDefined()
})

const greeted = (then: (ssh: RawSsh) => unknown) => async (ssh: RawSsh) => {
  await ssh.greet()
  await then(ssh)
}

describe('a connection ends at once that sends, in the clear,', () => {
  const garbage = randomBytes(64)
  const lists = (count: number, list: string) => message(...Array<string>(count).fill(list))
  endsAtOnce([
    ['a packet of length 0', greeted((ssh) => ssh.write(Buffer.alloc(64)))],
    ['a packet of length 1', greeted((ssh) => ssh.write(clear(Buffer.of(2), 4, 1)))],
    ['a packet of 4 GB', greeted((ssh) => ssh.write(clear(garbage, 4, 0xffff_ffff)))],
    ['a packet of 1 MB', greeted((ssh) => ssh.write(clear(garbage, 4, 1 << 20)))],
    ['more padding than packet', greeted((ssh) => ssh.write(message(u32(12), 255, garbage)))],
    ['no payload', greeted((ssh) => ssh.write(message(u32(12), 12, garbage)))],
    ['random bytes', greeted((ssh) => ssh.write(randomBytes(4096)))],
    ['an empty KEXINIT', greeted((ssh) => ssh.send(message(MSG.KEXINIT)))],
    [
      'a KEXINIT whose lists are longer than it',
      greeted((ssh) => ssh.send(message(MSG.KEXINIT, randomBytes(16), u32(0xffff_fff0), garbage))),
    ],
    [
      'a KEXINIT of unknown algorithms',
      greeted((ssh) =>
        ssh.send(message(MSG.KEXINIT, randomBytes(16), lists(10, 'none-such'), 0, u32(0))),
      ),
    ],
    [
      'a KEXINIT of empty lists',
      greeted((ssh) => ssh.send(message(MSG.KEXINIT, randomBytes(16), lists(10, ''), 0, u32(0)))),
    ],
    ['NEWKEYS for KEXINIT', greeted((ssh) => ssh.send(message(MSG.NEWKEYS)))],
    ['an early USERAUTH_SUCCESS', greeted((ssh) => ssh.send(message(MSG.USERAUTH_SUCCESS)))],
    [
      'an early CHANNEL_OPEN with a request behind it (CVE-2025-32433)',
      greeted((ssh) => {
        ssh.send(kexinit())
        ssh.send(ssh.open(0))
        ssh.send(message(MSG.CHANNEL_REQUEST, u32(0), 'exec', 1, 'id'))
      }),
    ],
    [
      'an IGNORE within a strict key exchange (CVE-2023-48795)',
      greeted((ssh) => {
        ssh.send(kexinit())
        ssh.send(message(MSG.IGNORE, 'x'))
      }),
    ],
    ...[Buffer.alloc(32), Buffer.alloc(31), Buffer.alloc(0), Buffer.alloc(33, 9)].map(
      (point): Attack => [
        `a key exchange point of ${point.length} × ${point[0] ?? 0}`,
        greeted((ssh) => {
          ssh.send(kexinit())
          ssh.send(message(MSG.ECDH_INIT, text(point)))
        }),
      ],
    ),
    [
      'NEWKEYS before the key exchange is over',
      greeted((ssh) => {
        ssh.send(kexinit())
        ssh.send(message(MSG.NEWKEYS))
      }),
    ],
  ])
})

const keyed = (then: (ssh: RawSsh) => unknown) => async (ssh: RawSsh) => {
  await ssh.exchange()
  await then(ssh)
}

const asking = (then: (ssh: RawSsh) => unknown) =>
  keyed(async (ssh) => {
    await ssh.askForAuth()
    await then(ssh)
  })

describe('a connection ends at once that sends, before it has logged in,', () => {
  endsAtOnce([
    ['a packet that does not open', keyed((ssh) => ssh.write(message(u32(32), randomBytes(48))))],
    ['a packet of 4 GB', keyed((ssh) => ssh.write(message(u32(0xffff_ffff), randomBytes(48))))],
    [
      'more IGNOREs than its byte budget',
      keyed(async (ssh) => {
        for (let sent = 0; sent < 320; sent += 1) ssh.send(message(MSG.IGNORE, 'x'.repeat(1000)))
      }),
    ],
    [
      'a log-in request whose strings are longer than it',
      asking((ssh) => ssh.send(message(MSG.USERAUTH_REQUEST, u32(0xffff_ffff), randomBytes(9)))),
    ],
    [
      'a log-in for another service',
      asking((ssh) => ssh.send(message(MSG.USERAUTH_REQUEST, 'raw', 'ssh-none', 'publickey', 0))),
    ],
    [
      'a seventh attempt',
      asking(async (ssh) => {
        for (let sent = 0; sent < 8; sent += 1) {
          ssh.send(message(MSG.USERAUTH_REQUEST, 'raw', 'ssh-connection', 'password', 0, 'guess'))
        }
      }),
    ],
    [
      'a twenty-first key',
      asking(async (ssh) => {
        for (let sent = 0; sent < 21; sent += 1) ssh.send(ssh.authRequest(key, 'raw', false))
      }),
    ],
  ])
})

/** Nothing of the session's is reachable before log-in: whatever is sent, no answer comes but about log-in. */
describe('before log-in it is of no use to send', () => {
  it.each<Attack>([
    ['USERAUTH_SUCCESS (CVE-2018-10933)', (ssh) => ssh.send(message(MSG.USERAUTH_SUCCESS))],
    ['SERVICE_ACCEPT', (ssh) => ssh.send(message(MSG.SERVICE_ACCEPT, 'ssh-connection'))],
    [
      'a request for ssh-connection',
      (ssh) => ssh.send(message(MSG.SERVICE_REQUEST, 'ssh-connection')),
    ],
    [
      'GLOBAL_REQUEST',
      (ssh) => ssh.send(message(MSG.GLOBAL_REQUEST, 'tcpip-forward', 1, '', u32(0))),
    ],
  ])(
    '%s',
    async (_what, attack) => {
      const ssh = raw()
      await ssh.exchange()
      await attack(ssh)
      ssh.send(ssh.open(0))
      ssh.send(message(MSG.CHANNEL_DATA, u32(0), 'hello'))
      ssh.send(message(MSG.SERVICE_REQUEST, 'ssh-userauth'))
      for (let answer = await ssh.receive(); answer; answer = await ssh.receive()) {
        expect([MSG.DISCONNECT, MSG.SERVICE_ACCEPT, MSG.EXT_INFO]).toContain(answer[0])
        if (answer[0] === MSG.SERVICE_ACCEPT) break
      }
      await canary()
    },
    AT_ONCE,
  )
})

const inside = (then: (ssh: RawSsh, channel: number) => unknown) => async (ssh: RawSsh) => {
  await ssh.logIn(key)
  await then(ssh, await ssh.openChannel())
}

it('closes a session’s only channel at once when both have ended, as ssh -W needs it', async () => {
  const ssh = await raw().logIn(key)
  const channels = [await ssh.openChannel(0), await ssh.openChannel(1)]
  // The other one first: of later channels the client has a while to be the one that closes.
  for (const number of [1, 0]) {
    ssh.send(message(MSG.CHANNEL_EOF, u32(channels[number] as number)))
    expect((await ssh.expect(MSG.CHANNEL_EOF))?.readUInt32BE(1)).toBe(number)
  }
  expect((await ssh.expect(MSG.CHANNEL_CLOSE))?.readUInt32BE(1)).toBe(0)
})

describe('a session ends at once that sends', () => {
  endsAtOnce([
    ['a packet that does not open', inside((ssh) => ssh.write(message(u32(32), randomBytes(48))))],
    ['a packet of 4 GB', inside((ssh) => ssh.write(message(u32(0xffff_fff0), randomBytes(48))))],
    [
      'a confirmation of what was not opened',
      inside((ssh) =>
        ssh.send(message(MSG.CHANNEL_OPEN_CONFIRMATION, u32(9), u32(9), u32(9), u32(9))),
      ),
    ],
    [
      'a string longer than its packet',
      inside((ssh, to) => ssh.send(message(MSG.CHANNEL_DATA, u32(to), u32(0xffff_ffff), 'x'))),
    ],
    [
      'an open that is cut short',
      inside((ssh) => ssh.send(message(MSG.CHANNEL_OPEN, 'direct-tcpip'))),
    ],
    [
      'data while it exchanges keys',
      inside((ssh, to) => {
        ssh.send(kexinit())
        ssh.send(message(MSG.CHANNEL_DATA, u32(to), 'x'))
      }),
    ],
    [
      'a window adjusted beyond 4 GB',
      inside((ssh, to) => {
        for (let sent = 0; sent < 3; sent += 1) {
          ssh.send(message(MSG.CHANNEL_WINDOW_ADJUST, u32(to), u32(0xffff_ffff)))
        }
        ssh.send(message(MSG.DISCONNECT, u32(11), 'enough', ''))
      }),
    ],
  ])
})

describe('a session lives on that sends', () => {
  it.each<readonly [string, (ssh: RawSsh, channel: number) => unknown]>([
    [
      'data for a channel that is not there',
      (ssh) => ssh.send(message(MSG.CHANNEL_DATA, u32(77), 'x')),
    ],
    [
      'what comes after the end',
      (ssh, to) => {
        ssh.send(message(MSG.CHANNEL_CLOSE, u32(to)))
        ssh.send(message(MSG.CHANNEL_CLOSE, u32(to)))
        ssh.send(message(MSG.CHANNEL_EOF, u32(to)))
        ssh.send(message(MSG.CHANNEL_DATA, u32(to), 'x'))
        ssh.send(message(MSG.CHANNEL_WINDOW_ADJUST, u32(to), u32(1)))
      },
    ],
    [
      'answers to nothing',
      (ssh) => {
        ssh.send(message(MSG.CHANNEL_OPEN_FAILURE, u32(9), u32(1), 'no', ''))
        ssh.send(message(99, u32(9)))
        ssh.send(message(100, u32(9)))
        ssh.send(message(MSG.REQUEST_FAILURE))
      },
    ],
    ['no payload at all', (ssh) => ssh.send(Buffer.alloc(0))],
    [
      'message numbers that nobody knows',
      (ssh) => [60, 70, 110, 192, 255].map((n) => ssh.send(message(n))),
    ],
    [
      'a storm of EXT_INFO',
      (ssh) => repeat(500, () => ssh.send(message(MSG.EXT_INFO, u32(1), 'x', 'y'))),
    ],
    [
      'a storm of IGNORE',
      (ssh) => repeat(5_000, () => ssh.send(message(MSG.IGNORE, 'x'.repeat(900)))),
    ],
    [
      'requests that are not offered',
      (ssh, to) =>
        repeat(500, () => ssh.send(message(MSG.CHANNEL_REQUEST, u32(to), 'exec', 1, 'id'))),
    ],
    [
      'a storm of unknown requests',
      (ssh) => repeat(2_000, () => ssh.send(message(MSG.GLOBAL_REQUEST, 'no-such@example.com', 1))),
    ],
    ['key exchange after key exchange', (ssh) => repeat(20, () => ssh.exchange())],
  ])(
    '%s',
    async (_what, attack) => {
      const ssh = raw()
      await ssh.logIn(key)
      await attack(ssh, await ssh.openChannel())
      const channel = await ssh.openChannel(1)
      ssh.send(message(MSG.CHANNEL_DATA, u32(channel), 'hello'))
      const answer = await ssh.expect(MSG.CHANNEL_DATA)
      expect(answer?.subarray(9).toString()).toBe('hello')
      await canary()
    },
    AT_ONCE,
  )

  it('an open whose packets would be empty, which is refused', { timeout: AT_ONCE }, async () => {
    const ssh = raw()
    await ssh.logIn(key)
    ssh.send(ssh.open(0, 'alknet-control', 0))
    expect((await ssh.receive())?.[0] ?? MSG.DISCONNECT).not.toBe(MSG.CHANNEL_OPEN_CONFIRMATION)
    await canary()
  })

  it('more opens than it may have, of which the rest are refused', {
    timeout: AT_ONCE,
  }, async () => {
    const ssh = raw()
    await ssh.logIn(key)
    const opens = 1_200
    for (let number = 0; number < opens; number += 1) ssh.send(ssh.open(number))
    let accepted = 0
    for (let answers = 0; answers < opens; answers += 1) {
      const answer = await ssh.expect(MSG.CHANNEL_OPEN_CONFIRMATION, MSG.CHANNEL_OPEN_FAILURE)
      if (answer?.[0] === MSG.CHANNEL_OPEN_CONFIRMATION) accepted += 1
    }
    expect(accepted).toBeGreaterThan(0)
    expect(accepted).toBeLessThanOrEqual(1_024)
    await canary()
  })
})

async function repeat(times: number, what: () => unknown): Promise<void> {
  for (let time = 0; time < times; time += 1) await what()
}

it('says the same of an unknown user, an unknown key and a bad name', async () => {
  const answers = await Promise.all(
    [
      (ssh: RawSsh) => ssh.authRequest(stranger, 'raw'),
      (ssh: RawSsh) => ssh.authRequest(stranger, 'raw', false),
      (ssh: RawSsh) => ssh.authRequest(stranger, 'nobody'),
      (ssh: RawSsh) => ssh.authRequest(key, 'no/name'),
      (ssh: RawSsh) => ssh.authRequest(key, 'no/name', false),
      (ssh: RawSsh) => ssh.authRequest(key, ''),
    ].map(async (request) => {
      const ssh = raw()
      await ssh.exchange()
      await ssh.askForAuth()
      ssh.send(request(ssh))
      return (await ssh.receive())?.toString('latin1')
    }),
  )
  const failure = message(MSG.USERAUTH_FAILURE, 'publickey', 0).toString('latin1')
  expect(answers).toEqual(answers.map(() => failure))
})

describe.skipIf(process.platform !== 'linux')('the server’s memory', () => {
  let before = 0
  beforeAll(() => {
    before = resident()
  })
  afterAll(() => {
    program.kill()
  })

  it('does not grow by more than 16 MB under 500 attacks', async () => {
    for (let round = 0; round < 50; round += 1) {
      const attackers = Array.from({ length: 10 }, () => raw())
      await Promise.all(
        attackers.map(async (ssh, number) => {
          await ssh.greet()
          if (number % 2 === 0) ssh.write(clear(randomBytes(32), 4, 0xffff_ffff))
          else ssh.send(message(MSG.KEXINIT, randomBytes(16), u32(0x7fff_ffff), randomBytes(999)))
          await ssh.closed
        }),
      )
    }
    await canary()
    expect(resident() - before).toBeLessThan(16 * 1024 * 1024)
  })
})
