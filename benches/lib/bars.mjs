// What "fast" means: figures of alknet against those of named peers in the same run.

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
  { title: 'descriptors after connect and close', value: 'cycles_fds_leaked', must: { most: 0 } },
  { title: 'memory after connect and close', value: 'cycles_rss_growth_MiB', must: { most: 8 } },
]

const ours = ['alknet', 'alknet-events']

function throughput(way, value) {
  return {
    title: `throughput ${way}`,
    value,
    must: { least: 1.15, than: ['ssh2', 'tls'] },
    stretch: { least: 0.55, than: ['net'] },
  }
}

/** Every bar for which `medians[value][peer]` has the figures, judged. */
export function judge(medians) {
  return bars.flatMap(({ title, value, must, stretch }) => {
    const figures = medians[value] ?? {}
    const own = ours.map((peer) => figures[peer]).find((figure) => figure !== undefined)
    const first = own === undefined ? undefined : compare(own, must, figures)
    if (!first) return []
    const second = stretch && compare(own, stretch, figures)
    return [{ title, value, figure: own, must: first, ...(second && { stretch: second }) }]
  })
}

function compare(own, { least, most, than }, figures) {
  if (!than) return { most, got: own, pass: own <= most }
  const known = than.filter((peer) => figures[peer] !== undefined)
  if (known.length < than.length) return undefined
  const best = least === undefined ? Math.min : Math.max
  const reference = best(...known.map((peer) => figures[peer]))
  const peer = known.find((name) => figures[name] === reference)
  const got = own / reference
  const pass = least === undefined ? got <= most : got >= least
  return { ...(least === undefined ? { most } : { least }), than: peer, reference, got, pass }
}
