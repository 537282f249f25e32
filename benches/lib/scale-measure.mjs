// What an event and an idle client cost two real servers: processor time and memory of their processes.
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { createAlknetEventTarget, openSession } from '../../index.js'
import { makeResources } from './resources.mjs'

// A key may have 64 sessions, and 20 subscribers more come.
const IDLE = 40
const EVENTS = 4000
const SUBSCRIBERS = 20
const TICK_US = 10_000 // of /proc: USER_HZ is 100 on Linux
const PAGE_KiB = 4

/** Resolves to the costs that benches/scale.mjs reckons with. */
export async function measure() {
  const needs = ['ssh keys', 'alknet build', 'nats-server', 'alknet buses']
  const { context, missing, release } = await makeResources(needs)
  try {
    if (Object.keys(missing).length > 0) throw new Error(Object.values(missing).join('; '))
    return await costs(context)
  } finally {
    release()
  }
}

async function costs({ buses: [here, there], clientKey }) {
  const join = async ({ connectionString }) => {
    const session = await openSession(connectionString, { identity: clientKey })
    return createAlknetEventTarget({ session })
  }
  const before = memory(here)
  const idle = []
  while (idle.length < IDLE) {
    const target = await join(here)
    target.addEventListener('idle', () => {})
    await target.ready('idle')
    idle.push(target)
  }
  const KiB_per_client = (memory(here) - before) / IDLE
  const publisher = await join(here)
  // Nobody hears it: what is left is to publish.
  const alone = await spend([here], () => flood(publisher, 'unheard', () => sleep(1)))
  const one = await subscribe(join, there, 'one', 1)
  const toOne = await spend([there], () => flood(publisher, 'one', one))
  const many = await subscribe(join, there, 'many', SUBSCRIBERS)
  const toMany = await spend([there], () => flood(publisher, 'many', many))
  const us_per_delivery = (toMany - toOne) / EVENTS / (SUBSCRIBERS - 1)
  const us_per_received = Math.max(0, toOne / EVENTS - us_per_delivery)
  const round = (value) => Math.round(value * 10) / 10
  return {
    us_per_published: round(alone / EVENTS),
    us_per_received: round(us_per_received),
    us_per_delivery: round(us_per_delivery),
    KiB_per_client: Math.round(KiB_per_client),
  }
}

/** Subscribes `count` clients; gives what waits until all have heard so many events. */
async function subscribe(join, server, topic, count) {
  let heard = 0
  let check = () => {}
  for (let number = 0; number < count; number++) {
    const target = await join(server)
    target.addEventListener(topic, () => {
      heard++
      check()
    })
    await target.ready(topic)
  }
  return (events) =>
    new Promise((resolve) => {
      check = () => heard === events * count && resolve()
      check()
    })
}

/** Publishes one after the other, each when the one before was heard: what comes together costs less, down to a tenth. */
async function flood(target, type, heard) {
  for (let number = 0; number < EVENTS; number++) {
    await target.publish(new CustomEvent(type, { detail: { number, text: 'x'.repeat(80) } }))
    await heard(number + 1)
  }
  await target.drained()
}

/** Microseconds of processor time that the servers take for it. */
async function spend(servers, work) {
  const used = () => servers.reduce((sum, { pid }) => sum + ticks(pid), 0)
  const before = used()
  await work()
  return (used() - before) * TICK_US
}

function ticks(pid) {
  const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return Number(fields[11]) + Number(fields[12])
}

const memory = ({ pid }) =>
  Number(fs.readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]) * PAGE_KiB
