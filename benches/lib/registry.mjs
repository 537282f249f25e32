// The rows and columns of everything. A peer and a metric are a module each.
const ssh = ['ssh keys']
const alknet = ['ssh keys', 'alknet build']

/**
 * `kinds` are what a peer can be measured at: 'streams', 'multiplexing' (many streams on one session), 'events'. `needs` are
 * resources, see resources.mjs.
 */
export const peers = {
  net: { label: 'node:net', kinds: ['streams'], needs: [] },
  tls: { label: 'node:tls (aes-128-gcm)', kinds: ['streams'], needs: ['certificate'] },
  ssh2: {
    label: 'ssh2 (aes128-gcm)',
    kinds: ['streams', 'multiplexing'],
    needs: [...ssh, 'ssh2 native crypto'],
  },
  alknet: { label: 'alknet', kinds: ['streams', 'multiplexing'], needs: alknet },
  ws: { label: 'ws', kinds: ['events'], needs: [] },
  framed: { label: 'framed JSON over node:net', kinds: ['events'], needs: [] },
  ioredis: { label: 'ioredis', kinds: ['events'], needs: ['redis-server'] },
  'yoga-redis': { label: 'yoga over Redis', kinds: ['events'], needs: ['redis-server'] },
  'alknet-events': { label: 'alknet event target', kinds: ['events'], needs: alknet },
  'yoga-alknet': { label: 'yoga over alknet', kinds: ['events'], needs: alknet },
}
export const peerNames = Object.keys(peers)

export const metricNames = [
  ...['stream', 'rtt', 'connect', 'opens', 'idle', 'idle10', 'cycles'],
  ...['events', 'latency'],
]

/*
 * A peer of streams exports
 *   listen(context, onStream) -> { address },
 *   openSession(context, address) -> { open() -> Duplex, close() }.
 * A peer of events exports
 *   publisher(context) -> { address, ready, publish(payload), flush() -> resolves when there is room for more },
 *   subscribe(context, address, onPayload) -> resolves when subscribed,
 *   pids(context), if processes besides the two ends do its work.
 * A metric exports
 *   title, about, kind (of peers), units (of its values), settings (full, quick),
 *   server(kit) -> { address, calls }, client(kit) -> values.
 */
export const loadPeer = (name) => import(`../peers/${name}.mjs`)
export const loadMetric = (name) => import(`../metrics/${name}.mjs`)
