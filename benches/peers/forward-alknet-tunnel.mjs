// `alknet tunnel`: runner, agent, host and forward, a process each.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { root } from '../../scripts/support.mjs'
import { forwarder } from '../lib/forwards.mjs'
import { startProcess } from '../lib/processes.mjs'

const program = path.join(root, 'native', 'alknet')

async function piece(event, ...args) {
  const ready = (line) => {
    const told = line.startsWith('{') && JSON.parse(line)
    return told?.event === event ? told : undefined
  }
  const started = await startProcess(program, ['tunnel', ...args, '--json'], { ready })
  return { ...started, url: `ws://${started.ready.addresses?.[0]}` }
}

export async function start(_context, target) {
  const home = fs.mkdtempSync(path.join(os.tmpdir(), 'alknet-bench-tunnel-'))
  const registry = path.join(home, 'registry.json')
  const runner = await piece('listening', 'runner', '--listen', '127.0.0.1:0')
  const agent = await piece('up', 'agent', '-r', runner.url, '-c', 'kohakuriver-task-5')
  const nodes = { n1: { url: runner.url } }
  fs.writeFileSync(registry, JSON.stringify({ nodes, tasks: { 5: { node: 'n1' } } }))
  const listen = ['--listen', '127.0.0.1:0', '--ssh-listen', 'none', '--registry', registry]
  const host = await piece('listening', 'host', ...listen)
  const where = ['forward', '5', `${target}`, '-l', '0']
  const forward = await piece('listening', '--host', host.url, ...where)
  const port = Number(forward.ready.addresses[0].split(':').at(-1))
  const running = forwarder(port, runner, agent, host, forward)
  const stop = async () => {
    await running.stop()
    fs.rmSync(home, { recursive: true, force: true })
  }
  return { ...running, stop }
}
