// The rows and columns of everything. A peer and a metric are a module each.
const ssh = ['ssh keys']
const alknet = ['ssh keys', 'alknet build']
const forwards = { kinds: ['forwards'] }
const openssh = [...ssh, 'OpenSSH', 'load']
const transports = { kinds: ['transports'] }

/**
 * `kinds` are what a peer can be measured at: 'streams', 'multiplexing' (many streams on one session), 'events', 'forwards',
 * 'fanout' (events through a hub), 'durable' (events that are kept), 'bus' (a hub of ours), 'transports' (streams over one of ours), 'iroh' (forwards over iroh).
 * `needs` are resources, see resources.mjs.
 */
export const peers = {
  net: { label: 'node:net', kinds: ['streams'], needs: [] },
  tls: { label: 'node:tls (aes-128-gcm)', kinds: ['streams'], needs: ['certificate'] },
  ssh2: {
    label: 'ssh2 (aes128-gcm)',
    kinds: ['streams', 'multiplexing'],
    needs: [...ssh, 'ssh2 native crypto'],
  },
  alknet: { label: 'alknet', kinds: ['streams', 'multiplexing', 'transports'], needs: alknet },
  'alknet-tls': {
    label: 'alknet over tls',
    ...transports,
    needs: [...alknet, 'certificate'],
  },
  'alknet-ws': { label: 'alknet over ws', ...transports, needs: alknet },
  'alknet-iroh': { label: 'alknet over iroh', ...transports, needs: alknet },
  ws: { label: 'ws', kinds: ['events'], needs: [] },
  framed: { label: 'framed JSON over node:net', kinds: ['events'], needs: [] },
  ioredis: { label: 'ioredis', kinds: ['events', 'fanout'], needs: ['redis-server'] },
  'yoga-redis': { label: 'yoga over Redis', kinds: ['events', 'fanout'], needs: ['redis-server'] },
  'alknet-events': { label: 'alknet event target', kinds: ['events'], needs: alknet },
  'yoga-alknet': { label: 'yoga over alknet', kinds: ['events'], needs: alknet },
  'ws-hub': { label: 'ws through a Node hub', kinds: ['events', 'fanout'], needs: ['ws hub'] },
  'nats-js': { label: 'NATS with nats.js', kinds: ['events', 'fanout'], needs: ['nats-server'] },
  'alknet-nats': {
    label: 'two alknet buses over NATS',
    kinds: ['events', 'fanout'],
    needs: [...alknet, 'nats-server', 'alknet buses'],
  },
  'alknet-bus': {
    label: 'alknet bus',
    kinds: ['events', 'fanout', 'bus'],
    needs: [...alknet, 'alknet bus'],
  },
  'nats-jetstream': {
    label: 'JetStream with nats.js',
    kinds: ['durable'],
    needs: ['nats-server'],
  },
  'alknet-durable': {
    label: 'two alknet buses that keep',
    kinds: ['durable'],
    needs: [...alknet, 'nats-server', 'alknet buses'],
  },
  'forward-direct': { label: 'no forwarder', ...forwards, needs: ['load'] },
  'forward-net': { label: 'node:net pipe', ...forwards, needs: ['load'] },
  'forward-socat': { label: 'socat -b 131072', ...forwards, needs: ['load', 'socat'] },
  'forward-alknet-plain': {
    label: 'alknet forward (plain)',
    ...forwards,
    needs: ['load', 'program'],
  },
  'forward-bore': { label: 'bore', ...forwards, needs: ['load', 'bore'] },
  'forward-openssh': { label: 'OpenSSH (its default)', ...forwards, needs: openssh },
  'forward-openssh-gcm': { label: 'OpenSSH (aes128-gcm)', ...forwards, needs: openssh },
  'forward-ssh2': { label: 'ssh2', ...forwards, needs: [...ssh, 'load', 'ssh2 native crypto'] },
  'forward-alknet': { label: 'alknet -L', ...forwards, needs: [...alknet, 'load', 'program'] },
  'forward-dumbpipe': { label: 'dumbpipe', kinds: ['iroh'], needs: ['load', 'dumbpipe'] },
  'forward-alknet-iroh': {
    label: 'alknet -L over iroh',
    kinds: ['iroh'],
    needs: [...alknet, 'load', 'program'],
  },
  'forward-alknet-tunnel': {
    label: 'alknet tunnel',
    ...forwards,
    needs: ['load', 'program'],
  },
}
export const peerNames = Object.keys(peers)

export const metricNames = [
  ...['stream', 'rtt', 'connect', 'opens', 'idle', 'idle10', 'cycles'],
  ...['events', 'latency', 'fanout', 'durable', 'idlebus'],
  ...['forward', 'forward-rtt', 'forward-conns', 'forward-http', 'forward-idle', 'forward-stall'],
  ...['transport-stream', 'transport-rtt', 'transport-connect'],
  ...['iroh-forward', 'iroh-rtt', 'iroh-conns', 'iroh-idle'],
]

/** Names for many metrics, or many peers, at once. */
export const families = {
  streams: ['stream', 'rtt', 'connect', 'opens', 'idle', 'idle10', 'cycles'],
  bus: ['events', 'latency', 'fanout', 'durable', 'idlebus'],
  forwards: metricNames.filter((name) => name.startsWith('forward')),
  transports: metricNames.filter((name) => /^(transport|iroh)-/.test(name)),
}

/** Names for some metrics of some peers. */
export const groups = {
  nats: {
    metrics: ['events', 'latency', 'fanout', 'durable'],
    peers: ['nats-js', 'alknet-nats', 'nats-jetstream', 'alknet-durable'],
  },
}

/*
 * A peer of streams exports
 *   listen(context, onStream) -> { address },
 *   openSession(context, address) -> { open() -> Duplex, close() }.
 * A peer of events exports
 *   publisher(context) -> { address, ready, publish(payload), flush() -> resolves when there is room for more },
 *   subscribe(context, address, onPayload) -> resolves when subscribed,
 *   pids(context), if processes besides the two ends do its work;
 *   of events that are kept, subscribe() takes a position as well, to begin after, and hands one to onPayload.
 * A peer of forwards exports
 *   start(context, target) -> { port, pids, stop() }: leads from 127.0.0.1:port to 127.0.0.1:target; `pids` are the processes
 *     that it started, without their children; see forwards.mjs, and alknet-forward.mjs for alknet over another transport,
 *   roles, if it consists of Node processes: see role.mjs.
 * A metric exports
 *   title, about, kind (of peers), needs (besides those of the peer), units (of its values), settings (full, quick), flags (of node),
 *   server(kit) -> { address, calls }, client(kit) -> values.
 */
export const loadPeer = (name) => import(`../peers/${name}.mjs`)
export const loadMetric = (name) => import(`../metrics/${name}.mjs`)
