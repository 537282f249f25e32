// Input that no honest peer sends, by a seed: before a session has keys, and in one that has.
import { KEXINIT_LISTS, list, number, packet, string } from './wire.mjs'

/** Where a session without keys can be hurt. Each gives the pieces to send, one write each. */
export const earlyStages = {
  banner: (random) => [banner(random)],
  framing: (random) => [hello, garbage(random, 400)],
  kexinit: (random) => [hello, packet(mutated(random, kexinit(random)))],
  exchange: (random) => [
    hello,
    packet(kexinit(random)),
    packet(mutated(random, exchangeInit(random))),
  ],
  messages: (random) => [hello, packet(kexinit(random)), ...messages(random, anyMessage)],
  'cut short': (random) => {
    const whole = Buffer.concat([hello, packet(kexinit(random)), packet(exchangeInit(random))])
    return [whole.subarray(0, random.below(whole.length))]
  },
}

/** Payloads for a session that is logged in; `ids` are its channels. */
export const lateMessages = (random, ids) =>
  Array.from({ length: 1 + random.below(25) }, () =>
    mutatedNow(random, channelMessage(random, ids)),
  )

const hello = Buffer.from('SSH-2.0-alknet_0\r\n')

function banner(random) {
  return random.pick([
    () => garbage(random, 600),
    () => Buffer.from(`SSH-1.5-${'x'.repeat(random.below(300))}\r\n`),
    () => Buffer.from(`SSH-2.0-${'\0é\n'.repeat(random.below(100))}\r\n`),
    () => Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
    () => Buffer.from('\n'.repeat(random.below(5_000))),
    () => Buffer.alloc(random.below(70_000), 'A'),
    () => Buffer.from(`${'hello\r\n'.repeat(random.below(2_000))}SSH-2.0-x\r\n`),
    () => hello.subarray(0, random.below(hello.length)),
  ])()
}

const garbage = (random, most) => random.bytes(random.below(most))

function kexinit(random) {
  return Buffer.concat([
    Buffer.of(20),
    random.bytes(16),
    ...KEXINIT_LISTS.map(list),
    Buffer.of(random.below(10) === 0 ? 1 : 0),
    number(0),
  ])
}

function exchangeInit(random) {
  const length = random.pick([32, 32, 0, 1, 31, 33, 1184, 1216, 1217, 5_000])
  const point = random.pick([random.bytes(length), Buffer.alloc(length), Buffer.alloc(length, 255)])
  return Buffer.concat([Buffer.of(30), string(point)])
}

const messages = (random, make) =>
  Array.from({ length: 1 + random.below(8) }, () => packet(make(random)))

const anyMessage = (random) => Buffer.concat([Buffer.of(random.below(256)), garbage(random, 200)])

const weird = [0, 1, 7, 0x7fffffff, 0x80000000, 0xffffffff]

function mutated(random, bytes) {
  const copy = Buffer.from(bytes)
  const kind = random.below(5)
  if (kind === 0) return copy.subarray(0, random.below(copy.length + 1))
  if (kind === 1) return Buffer.concat([copy, garbage(random, 300)])
  if (kind === 2 && copy.length > 4) {
    copy.writeUInt32BE(random.pick(weird), random.below(copy.length - 3))
    return copy
  }
  for (let flips = 1 + random.below(4); flips > 0; flips--) {
    if (copy.length > 0) copy[random.below(copy.length)] ^= 1 << random.below(8)
  }
  return copy
}

// Most as they should be, so that the next one is still listened to.
const mutatedNow = (random, bytes) => (random.below(4) === 0 ? mutated(random, bytes) : bytes)

function channelMessage(random, ids) {
  const id = number(random.below(5) === 0 ? random.pick(weird) : random.pick(ids))
  const body = string(random.bytes(random.below(2_000)))
  const size = number(random.below(3) === 0 ? random.pick(weird) : random.below(100_000))
  return random
    .pick([
      () => [90, string(random.pick(channelTypes)), id, size, size, openBody(random)],
      () => [91, id, id, size, size],
      () => [92, id, number(random.below(6)), string('no'), string('')],
      () => [93, id, size],
      () => [94, id, body],
      () => [94, id, string(random.bytes(random.below(3) * 30_000))],
      () => [95, id, number(random.pick([0xfe000a1c, 0xfe000a1c, 1, 0])), string(credit(random))],
      () => [96, id],
      () => [97, id],
      () => [
        98,
        id,
        string(random.pick(requests)),
        Buffer.of(random.below(2)),
        garbage(random, 60),
      ],
      () => [random.pick([99, 100]), id],
      () => [80, string(random.pick(globals)), Buffer.of(random.below(2)), garbage(random, 60)],
      () => [random.pick([81, 82])],
      () => [random.pick([1, 2, 3, 4, 5, 6, 7, 50, 51, 52, 53, 60, 61, 63]), garbage(random, 80)],
      () => [random.below(256), garbage(random, 100)],
    ])()
    .reduce(
      (all, part) => Buffer.concat([all, typeof part === 'number' ? Buffer.of(part) : part]),
      Buffer.alloc(0),
    )
}

const channelTypes = [
  'direct-tcpip',
  'session',
  'forwarded-tcpip',
  'x11',
  'nonsense',
  '',
  'direct-streamlocal@openssh.com',
]
const requests = [
  'pty-req',
  'shell',
  'exec',
  'subsystem',
  'env',
  'window-change',
  'signal',
  'exit-status',
  'exit-signal',
  'x11-req',
  'auth-agent-req@openssh.com',
  '',
]
const globals = [
  'tcpip-forward',
  'cancel-tcpip-forward',
  'keepalive@openssh.com',
  'hostkeys-00@openssh.com',
  'no-more-sessions@openssh.com',
  'streamlocal-forward@openssh.com',
  '',
]

function openBody(random) {
  const host = random.pick([
    'alknet-control',
    'alknet-CONTROL',
    'alknet-',
    '127.0.0.1',
    '',
    '\0',
    'é'.repeat(300),
    '[::1]',
  ])
  const port = number(random.pick([1, 22, 0, 65_558, 0xffffffff]))
  return Buffer.concat([string(host), port, string('127.0.0.1'), number(random.below(70_000))])
}

function credit(random) {
  return random.pick([
    random.bytes(8),
    Buffer.alloc(8, 255),
    Buffer.alloc(8),
    random.bytes(random.below(17)),
    random.bytes(5_000),
  ])
}
