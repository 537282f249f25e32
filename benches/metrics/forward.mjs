import { cpuTime, load, target, withForwarder } from '../lib/forwards.mjs'

export const title = 'Forward: throughput'
export const about =
  'Native load over 1 and 8 connections through the forward, counted at the receiver; MB = 10^6 bytes; CPU of all processes of the forwarder.'
const kinds = ['down1', 'up1', 'down8', 'up8']
export const units = Object.fromEntries([
  ...kinds.map((kind) => [`forward_${kind}_MBps`, 'MB/s']),
  ...kinds.map((kind) => [`forward_${kind}_cpu_ms_per_MB`, 'ms/MB']),
])
export const settings = { full: { ms: 1200, warmUp: 300 }, quick: { ms: 400, warmUp: 150 } }
export const kind = 'forwards'
export const server = target

export const client = (kit) =>
  withForwarder(kit, async (forwarder) => {
    const values = {}
    for (const kind of kinds) {
      const [, way, connections] = /^([a-z]+)(\d)$/.exec(kind)
      const move = (ms) => load(kit, 'bulk', forwarder.port, way, connections, ms)
      await move(kit.settings.warmUp)
      const before = cpuTime(forwarder)
      const [bytes, seconds] = await move(kit.settings.ms)
      values[`forward_${kind}_MBps`] = bytes / 1e6 / seconds
      values[`forward_${kind}_cpu_ms_per_MB`] = (cpuTime(forwarder) - before) / (bytes / 1e6)
    }
    return values
  })
