// Malformed input in every state, from both sides, with somebody well-behaved after each.
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import ssh2 from 'ssh2'
import { connect, openSession } from '../../../index.js'
import { echo, echoed, ended, reach, startServer } from '../lib/ends.mjs'
import { growth } from '../lib/look.mjs'
import { earlyStages, lateMessages } from '../lib/malformed.mjs'
import { Random } from '../lib/random.mjs'
import { inject } from '../lib/wire.mjs'

export const title = 'malformed input'
const what = (early, late) =>
  `random malformed input at our server and at our client: ${early} connections before there are keys and ${late} after log-in, at each; an honest session after every one`
export const runs = { full: what('1,500', 500), quick: what(100, 50) }
export const limit = { full: 420, quick: 60 }

const AFTER_LOGIN = 'after log-in'

export async function script(kit) {
  const [early, late] = kit.pick([1_500, 500], [100, 50])
  for (const side of ['server', 'client']) {
    const victim = await kit.start(side, {})
    const other = side === 'server' ? undefined : await kit.start('server', {})
    const attacker = await kit.start(
      side === 'server' ? 'badClient' : 'badServer',
      victim.ready ?? {},
    )
    const attack = { server: bad(attacker), client: lure(victim, attacker, other) }[side]
    await attack(kit.random, Math.ceil(early / 10), Math.ceil(late / 10))
    const base = await victim.probe()
    const { inputs, honest } = await attack(kit.random, early, late)
    const after = await victim.settled(base)
    const name = `${side}, seed ${kit.seed}`
    kit.figure({
      name: `${side} honest`,
      what: `${name}: honest sessions served after malformed ones`,
      value: honest,
      least: inputs,
    })
    kit.figure({
      name: `${side} growth`,
      what: `${name}: growth over ${inputs.toLocaleString('en-US')} inputs after the first tenth`,
      value: growth(base, after),
      unit: 'MB',
      most: 16,
    })
    kit.figure({
      name: `${side} fds`,
      what: `${name}: descriptors left`,
      value: after.fds - base.fds,
      most: 0,
    })
    for (const end of [attacker, other, victim]) await end?.stop()
  }
}

/** Attacks a server. */
const bad = (attacker) => async (random, early, late) => {
  let honest = 0
  const stages = Object.keys(earlyStages)
  for (let turn = 0; turn < early; turn++) {
    honest += await attacker.call('early', stages[turn % stages.length], random.below(2 ** 31))
  }
  for (let turn = 0; turn < late; turn++)
    honest += await attacker.call('late', random.below(2 ** 31))
  return { inputs: early + late, honest }
}

/** Has a client connect to a server that attacks it, and to an honest one. */
const lure = (client, attacker, honestServer) => async (random, early, late) => {
  let honest = 0
  const stages = [...Object.keys(earlyStages)]
  for (let turn = 0; turn < early + late; turn++) {
    const stage = turn < early ? stages[turn % stages.length] : AFTER_LOGIN
    const trap = await attacker.call('trap', stage, random.below(2 ** 31))
    honest += await client.call('walkInto', stage, trap, honestServer.ready)
  }
  return { inputs: early + late, honest }
}

async function isServed(context, ready) {
  const stream = await connect({ ...reach(context, ready), connectTimeout: 10_000 })
  await echoed(stream, Buffer.from('canary'))
  await ended(stream)
  return 1
}

export const ends = {
  async server(_, context) {
    return await startServer(context, echo)
  },

  /** Ours, which must only ever fail with a code. */
  async client(_, context) {
    return {
      async walkInto(stage, trap, honest) {
        const options = { ...reach(context, trap), connectTimeout: 5_000 }
        try {
          if (stage === AFTER_LOGIN) await useWhileItLasts(await openSession(options))
          else (await connect(options)).destroy()
        } catch (error) {
          if (!error.code) throw error
        }
        return await isServed(context, honest)
      },
    }
  },

  /** Attacks our server, and is an honest client afterwards. */
  async badClient(ready, context) {
    const [host, port] = ready.server.split(':')
    const key = fs.readFileSync(context.clientKey)
    return {
      async early(stage, seed) {
        const socket = net.connect(Number(port), host)
        await once(socket, 'connect')
        await sendAll(socket, earlyStages[stage](new Random(seed)))
        return await isServed(context, ready)
      },
      async late(seed) {
        const client = new ssh2.Client()
        client.on('error', () => {})
        client.connect({
          host,
          port: Number(port),
          username: 'bad',
          privateKey: key,
          ident: 'alknet_0',
        })
        await once(client, 'ready')
        const channel = await new Promise((resolve) => {
          client.forwardOut('127.0.0.1', 1, 'alknet-control', 1, (error, stream) =>
            resolve(error ? undefined : stream),
          )
        })
        channel?.on('error', () => {})
        const ids = [channel?.outgoing.id ?? 0]
        for (const payload of lateMessages(new Random(seed), ids)) tryInject(client, payload)
        const served = await isServed(context, ready)
        client.destroy()
        return served
      },
    }
  },

  /** A server that attacks whoever comes. */
  async badServer(_, context) {
    const plain = net.createServer((socket) => {
      socket.on('error', () => {})
      sendAll(socket, next.pieces)
    })
    let next
    const ssh = new ssh2.Server({ hostKeys: [fs.readFileSync(context.hostKey)], ident: 'alknet_0' })
    ssh.on('connection', (connection) => attackAfterLogin(connection, () => next))
    for (const server of [plain, ssh]) {
      server.listen(0, '127.0.0.1')
      await once(server._srv ?? server, 'listening')
    }
    const hostKeys = fs.readFileSync(context.hostPublicKey, 'utf8').trim()
    return {
      trap(stage, seed) {
        const random = new Random(seed)
        const late = stage === AFTER_LOGIN
        next = late ? { random } : { pieces: earlyStages[stage](random) }
        const { port } = (late ? ssh : plain).address()
        return { server: `127.0.0.1:${port}`, hostKeys }
      },
    }
  },
}

function attackAfterLogin(connection, task) {
  const { random } = task()
  connection.on('error', () => {})
  connection.on('authentication', (attempt) => attempt.accept())
  connection.on('tcpip', (accept) => {
    const channel = accept()
    channel.on('error', () => {})
    for (const payload of lateMessages(random, [channel.outgoing.id]))
      tryInject(connection, payload)
    setTimeout(() => connection.end(), 15)
  })
}

// An ssh2 that is closed meanwhile throws.
function tryInject(connection, payload) {
  try {
    if (payload.length > 0) inject(connection, payload)
  } catch {
    // it is over
  }
}

/** Sends the pieces, gives the other side a moment to choke on them, and hangs up. */
async function sendAll(socket, pieces) {
  socket.on('error', () => {}).resume()
  for (const piece of pieces) if (!socket.destroyed) socket.write(piece)
  const timer = setTimeout(() => socket.destroy(), 10)
  if (!socket.destroyed) await once(socket, 'close').catch(() => {})
  clearTimeout(timer)
}

/** Opens, writes and reads until the session is lost. */
async function useWhileItLasts(session) {
  const lost = new Promise((resolve) => session.once('close', resolve))
  try {
    const stream = await session.open()
    stream
      .on('error', () => {})
      .resume()
      .write(Buffer.alloc(10_000))
    await Promise.race([lost, new Promise((resolve) => setTimeout(resolve, 40))])
    stream.destroy()
  } finally {
    await session.close()
  }
}
