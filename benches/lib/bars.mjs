// What "fast" means: figures of alknet against those of named peers in the same run.
import { median, medianRatio } from './stats.mjs'

const [openssh, sameCipher] = [['forward-openssh'], ['forward-openssh-gcm']]
const [bore, netPipe, socat] = [['forward-bore'], ['forward-net'], ['forward-socat']]

// Forwards, against OpenSSH with the same cipher; bore encrypts nothing.
const forwards = [
  ...['down', 'up'].flatMap((way) => [
    {
      title: `forward ${way}`,
      value: `forward_${way}1_MBps`,
      must: { least: 1, than: sameCipher },
      stretch: { least: 1, than: bore },
    },
    {
      title: `forward ${way}, 8 connections`,
      value: `forward_${way}8_MBps`,
      must: { least: 1.2, than: sameCipher },
      stretch: { least: 1.4, than: sameCipher },
    },
    ...[1, 8].map((connections) => ({
      title: `forward CPU per MB, ${way}${connections}`,
      value: `forward_${way}${connections}_cpu_ms_per_MB`,
      must: { most: 1, than: sameCipher },
      stretch: { most: 0.85, than: sameCipher },
    })),
  ]),
  {
    title: 'forward HTTP',
    value: 'forward_http_rps',
    must: { least: 1, than: sameCipher },
    stretch: { least: 1.2, than: bore },
  },
  {
    title: 'forward HTTP, p99',
    value: 'forward_http_p99_us',
    must: { most: 2, than: bore },
    stretch: { most: 1, than: bore },
  },
  {
    title: 'forward new connections',
    value: 'forward_conns1_per_s',
    must: { least: 1, than: netPipe },
  },
  {
    title: 'forward new connections, 8 at a time',
    value: 'forward_conns8_per_s',
    must: { least: 1, than: [...openssh, ...sameCipher] },
  },
  {
    title: 'forward round trip, p50',
    value: 'forward_rtt64_p50_us',
    must: { most: 1, than: sameCipher },
    stretch: { most: 1, than: bore },
  },
  {
    title: 'forward, 1000 idle connections',
    value: 'forward_idle1000_pss_MiB',
    must: { most: 0.5, than: sameCipher },
  },
]

// The plain forwarder, which encrypts nothing either.
const plain = [
  ...['down', 'up'].flatMap((way) =>
    [1, 8].map((connections) => ({
      title: `plain forward ${way}, ${connections === 1 ? 'one connection' : '8 connections'}`,
      value: `forward_${way}${connections}_MBps`,
      must: { least: 1, than: socat },
      stretch: { least: 1.3, than: socat },
    })),
  ),
  {
    title: 'plain forward, new connections',
    value: 'forward_conns1_per_s',
    must: { least: 2, than: netPipe },
  },
  {
    title: 'plain forward, round trip, p50',
    value: 'forward_rtt64_p50_us',
    must: { most: 1, than: socat },
  },
  {
    title: 'plain forward, 1000 idle connections',
    value: 'forward_idle1000_pss_MiB',
    must: { most: 0.3, than: socat },
  },
].map((bar) => ({ ...bar, own: 'forward-alknet-plain' }))

// The transports, against TCP: TLS is a second layer of cryptography. Iroh against a forwarder on the same QUIC.
const transports = [
  ...['down', 'up'].flatMap((way) =>
    [
      ['tls', 0.65],
      ['ws', 0.7],
    ].map(([transport, least]) => ({
      title: `${transport} ${way}`,
      value: `transport_${way}_MBps`,
      own: `alknet-${transport}`,
      must: { least, than: ['alknet'] },
    })),
  ),
  {
    title: 'iroh, first byte of a process',
    value: 'transport_connect_first_ms',
    own: 'alknet-iroh',
    must: { most: 200 },
  },
  ...['down1', 'up1', 'down8', 'up8'].map((kind) => ({
    title: `iroh forward ${kind}`,
    value: `iroh_forward_${kind}_MBps`,
    must: { least: 0.9, than: ['forward-dumbpipe'] },
    stretch: { least: 1.2, than: ['forward-dumbpipe'] },
  })),
  ...[1, 8].map((parallel) => ({
    title: `iroh new connections, ${parallel} at a time`,
    value: `iroh_forward_conns${parallel}_per_s`,
    must: { least: 5, than: ['forward-dumbpipe'] },
    stretch: { least: 8, than: ['forward-dumbpipe'] },
  })),
  {
    title: 'iroh round trip, p50',
    value: 'iroh_forward_rtt64_p50_us',
    must: { most: 1.3, than: ['forward-dumbpipe'] },
    stretch: { most: 1, than: ['forward-dumbpipe'] },
  },
  {
    title: 'iroh, 1000 idle connections',
    value: 'iroh_forward_idle1000_pss_MiB',
    must: { most: 0.3, than: ['forward-dumbpipe'] },
  },
]

// Four processes in a row, against one hop of ours that encrypts, and against what the original was measured at: round trip 408 µs,
// 7,160 requests per second, a stall of seconds.
const tunnel = [
  ...['down', 'up'].flatMap((way) =>
    [1, 8].map((connections) => ({
      title: `tunnel ${way}, ${connections === 1 ? 'one connection' : '8 connections'}`,
      value: `forward_${way}${connections}_MBps`,
      must: { least: 0.5, than: ['forward-alknet'] },
    })),
  ),
  { title: 'tunnel round trip, p50', value: 'forward_rtt64_p50_us', must: { most: 250 } },
  { title: 'tunnel HTTP', value: 'forward_http_rps', must: { least: 21_480 } },
  { title: 'tunnel, others after a bulk one', value: 'forward_stall_ms', must: { most: 100 } },
  { title: 'tunnel, 1000 idle connections', value: 'forward_idle1000_pss_MiB', must: { most: 20 } },
].map((bar) => ({ ...bar, own: 'forward-alknet-tunnel' }))

// `than`: the best of these peers; without it the limit is absolute. `most`: less is better.
const bars = [
  throughput('down', 'down_MBps'),
  throughput('up', 'up_MBps'),
  ...['down', 'up'].map((way) => ({
    title: `CPU per MB, ${way}`,
    value: `${way}_cpu_ms_per_MB`,
    must: { most: 0.85, than: ['ssh2'] },
    stretch: { most: 0.5, than: ['ssh2'] },
  })),
  ...['p50', 'p99'].map((which) => ({
    title: `round trip of 64 bytes, ${which}`,
    value: `rtt64_${which}_us`,
    must: { most: 1, than: ['ssh2'] },
    stretch: { most: 0.75, than: ['ssh2'] },
  })),
  {
    title: 'connect to first byte',
    value: 'connect_first_byte_p50_ms',
    must: { most: 0.5, than: ['ssh2'] },
    stretch: { most: 0.25, than: ['ssh2'] },
  },
  {
    title: 'stream opens',
    value: 'opens_per_s',
    must: { least: 2, than: ['ssh2'] },
    stretch: { least: 4, than: ['ssh2'] },
  },
  ...['idle', 'idle10'].map((metric) => ({
    title: metric === 'idle' ? 'idle stream' : 'idle stream, ten sessions',
    value: `${metric}_KiB_per_stream`,
    must: { most: 24 },
    stretch: { most: 10 },
  })),
  {
    title: 'events',
    value: 'msgs_per_s',
    must: { least: 1, than: ['ws'] },
    stretch: { least: 1, than: ['framed'] },
  },
  { title: 'events', value: 'msgs_per_s', must: { least: 2, than: ['yoga-redis'] } },
  { title: 'events, one way', value: 'oneway_p50_us', must: { most: 0.6, than: ['yoga-redis'] } },
  ...forwards,
  ...plain,
  ...transports,
  ...tunnel,
  {
    title: 'events through a hub',
    value: 'msgs_per_s',
    own: 'alknet-bus',
    must: { least: 1, than: ['ws-hub'] },
  },
  {
    title: 'events through a hub',
    value: 'msgs_per_s',
    own: 'alknet-bus',
    must: { least: 2, than: ['yoga-redis'] },
  },
  {
    title: 'events to fifty subscribers',
    value: 'deliveries_per_s',
    own: 'alknet-bus',
    must: { least: 2, than: ['yoga-redis'] },
  },
  {
    title: 'events through a hub, one way',
    value: 'oneway_p50_us',
    own: 'alknet-bus',
    must: { most: 0.6, than: ['yoga-redis'] },
  },
  {
    title: 'events over NATS',
    value: 'msgs_per_s',
    own: 'alknet-nats',
    must: { least: 0.7, than: ['nats-js'] },
  },
  {
    title: 'idle subscriber',
    value: 'idlebus_KiB_per_subscriber',
    own: 'alknet-bus',
    must: { most: 24 },
  },
  { title: 'descriptors after connect and close', value: 'cycles_fds_leaked', must: { most: 0 } },
  { title: 'memory after connect and close', value: 'cycles_rss_growth_MiB', must: { most: 8 } },
]

const ours = ['alknet', 'alknet-events', 'forward-alknet', 'forward-alknet-iroh']

function throughput(way, value) {
  return {
    title: `throughput ${way}`,
    value,
    must: { least: 1.15, than: ['ssh2', 'tls'] },
    stretch: { least: 0.55, than: ['net'] },
  }
}

/** Every bar for which `figures[value][peer]`, one number per round, are there, judged. */
export function judge(figures) {
  return bars.flatMap(({ title, value, must, stretch, own: named }) => {
    const all = figures[value] ?? {}
    const own = (named ? [named] : ours)
      .map((peer) => all[peer])
      .find((rounds) => rounds !== undefined)
    const first = own && compare(own, must, all)
    if (!first) return []
    const second = stretch && compare(own, stretch, all)
    return [{ title, value, figure: median(own), must: first, ...(second && { stretch: second }) }]
  })
}

function compare(own, { least, most, than }, figures) {
  const limit = least === undefined ? { most } : { least }
  if (than?.some((peer) => figures[peer] === undefined)) return undefined
  const got = than ? medianRatio(own, bestOf(than, figures, least !== undefined)) : median(own)
  const pass = least === undefined ? got <= most : got >= least
  return { ...limit, ...(than && { than }), got, pass }
}

/** The best of these peers in each round. */
function bestOf(peers, figures, moreIsBetter) {
  const best = moreIsBetter ? Math.max : Math.min
  return figures[peers[0]].map((_, round) => best(...peers.map((peer) => figures[peer][round])))
}
