import { setTimeout as sleep } from 'node:timers/promises'
import { load, target, withForwarder } from '../lib/forwards.mjs'
import { pssOf, startProcess } from '../lib/processes.mjs'

export const title = 'Forward: idle connections'
export const about =
  '1000 connections through the forward, each used once and held: growth of the memory of all its processes (proportional set size).'
export const units = { forward_start_pss_MiB: 'MiB', forward_idle1000_pss_MiB: 'MiB' }
const one = { connections: 1000, settleMs: 300 }
export const settings = { full: one, quick: one }
export const kind = 'forwards'
export const server = target

export const client = (kit) =>
  withForwarder(kit, async ({ port, pids }) => {
    await load(kit, 'conns', port, 8, 50)
    await sleep(kit.settings.settleMs)
    const before = pssOf(pids)
    const args = ['hold', `${port}`, `${kit.settings.connections}`]
    const held = await startProcess(kit.context.load, args, {
      ready: (line) => line === 'held',
      stdin: true,
    })
    await sleep(kit.settings.settleMs)
    const after = pssOf(pids)
    await held.stop()
    return { forward_start_pss_MiB: before, forward_idle1000_pss_MiB: after - before }
  })
