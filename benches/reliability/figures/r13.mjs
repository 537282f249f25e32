// Bulk both ways at once, hashed at both ends, with keys exchanged on the way and every order of ends.
import { once } from 'node:events'
import { connect } from '../../../index.js'
import { reach, startServer } from '../lib/ends.mjs'
import { viaSsh, viaSshd } from '../lib/openssh.mjs'
import { exchange } from '../lib/transfer.mjs'

export const title = 'bulk both ways at once'
export const runs = {
  full: '2 GiB each way at once in each of 4 orders of ends, writes of 1 B to 256 KiB, new keys every 16 MiB; then 512 MiB each way with OpenSSH (RekeyLimit 16M) as client and as server',
  quick:
    '64 MiB each way at once in each of 4 orders of ends, writes of 1 B to 256 KiB, new keys every 4 MiB; then 64 MiB each way with OpenSSH (RekeyLimit 4M) as client and as server',
}
export const limit = { full: 900, quick: 60 }

const MiB = 2 ** 20
const ORDERS = ['client first', 'server first', 'together', 'each after the last byte of the other']

export async function script(kit) {
  const bytes = kit.pick(2048, 64) * MiB
  const rekeyBytes = kit.pick(16, 4) * MiB
  const server = await kit.start('server', { rekeyBytes })
  const client = await kit.start('client', { ...server.ready, rekeyBytes })
  for (const order of ORDERS) {
    const plan = { bytes, order, seed: kit.random.below(2 ** 31) }
    const [there, here] = await Promise.all([
      server.call('exchange', plan),
      client.call('exchange', plan),
    ])
    report(kit, order, bytes, here, there)
  }
  await againstOpenSsh(kit, server, {
    bytes: kit.pick(512, 64) * MiB,
    rekey: kit.pick('16M', '4M'),
  })
}

function report(kit, order, bytes, here, there) {
  const equal = here.sent === there.received && there.sent === here.received
  const right = equal && here.bytes === bytes && there.bytes === bytes
  kit.figure({
    name: order,
    what: `ends ${order}, seed ${kit.seed}: directions with equal SHA-256 at both ends`,
    value: right ? 2 : Number(here.sent === there.received) + Number(there.sent === here.received),
    least: 2,
  })
  kit.figure({
    name: `${order} rate`,
    what: `ends ${order}: both directions together`,
    value: (2 * bytes) / 1e6 / here.seconds,
    unit: 'MB/s',
  })
}

async function againstOpenSsh(kit, server, { bytes, rekey }) {
  const plan = { bytes, order: 'client first', seed: kit.random.below(2 ** 31) }
  const ssh = await viaSsh(kit, server.ready, rekey)
  const [there, here] = await Promise.all([
    server.call('exchange', plan),
    exchange(ssh.stream, 'client', plan),
  ])
  report(kit, 'client first, with ssh', bytes, here, there)
  ssh.stop()
  const sshd = await viaSshd(kit, rekey)
  const client = await kit.start('client', { ...sshd.ready, rekeyBytes: 16 * MiB })
  const [echo, own] = await Promise.all([
    sshd.exchange({ ...plan, order: 'together' }),
    client.call('exchange', { ...plan, order: 'together' }),
  ])
  report(kit, 'together, with sshd', bytes, own, echo)
  sshd.stop()
}

export const ends = {
  async server({ rekeyBytes }, context) {
    const waiting = []
    let wake
    const { ready } = await startServer(
      context,
      (stream) => {
        waiting.push(stream)
        wake?.()
      },
      { rekeyBytes },
    )
    const next = async () => {
      while (waiting.length === 0) {
        await new Promise((resolve) => {
          wake = resolve
        })
      }
      return waiting.shift()
    }
    return { ready, exchange: async (plan) => exchange(await next(), 'server', plan) }
  },

  async client({ target, user, rekeyBytes, ...ready }, context) {
    return {
      async exchange(plan) {
        const stream = await connect({ ...reach(context, ready), rekeyBytes, target, user })
        const done = await exchange(stream, 'client', plan)
        if (!stream.closed) await once(stream, 'close')
        return done
      },
    }
  },
}
