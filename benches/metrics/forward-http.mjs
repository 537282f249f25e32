import { target, withForwarder } from '../lib/forwards.mjs'
import { runProcess } from '../lib/processes.mjs'

export const title = 'Forward: HTTP'
export const about = 'wrk with 16 connections that are kept alive, one small page.'
export const units = { forward_http_rps: '1/s', forward_http_p99_us: 'µs' }
export const settings = { full: { seconds: 2 }, quick: { seconds: 1 } }
export const kind = 'forwards'
export const needs = ['wrk']
export const server = target

export const client = (kit) =>
  withForwarder(kit, async ({ port }) => {
    const run = (seconds) =>
      runProcess(kit.context.wrk, [
        ...['-t1', '-c16', `-d${seconds}s`, '--latency', `http://127.0.0.1:${port}/`],
      ])
    const said = await run(kit.settings.seconds)
    if (/Socket errors|Non-2xx/.test(said))
      throw new Error(`wrk: ${said.trim().split('\n').at(-3)}`)
    const [, amount, unit] = /99%\s+([\d.]+)(us|ms|s)/.exec(said)
    return {
      forward_http_rps: Number(/Requests\/sec:\s+([\d.]+)/.exec(said)[1]),
      forward_http_p99_us: Number(amount) * { us: 1, ms: 1e3, s: 1e6 }[unit],
    }
  })
