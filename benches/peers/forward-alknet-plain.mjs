// alknet's plain forwarder: the one of `alknet forward`, run by `alknet up` so that it ends with the measurement.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { root } from '../../scripts/support.mjs'
import { forwarder } from '../lib/forwards.mjs'
import { startProcess } from '../lib/processes.mjs'

export async function start(_context, target) {
  const home = fs.mkdtempSync(path.join(os.tmpdir(), 'alknet-bench-home-'))
  const unit = `[up.plain]\nrun = "forward"\nlisten-port = 0\ntarget-port = ${target}\n`
  fs.writeFileSync(path.join(home, 'config.toml'), `${unit}max-connections = 8192\n`)
  const ready = (line) => {
    const told = line.startsWith('{') && JSON.parse(line)
    return told?.event === 'listening' ? told : undefined
  }
  const program = path.join(root, 'native', 'alknet')
  const env = { ALKNET_HOME: home }
  const started = await startProcess(program, ['up', '--json'], { env, ready })
  const port = Number(started.ready.addresses[0].split(':').at(-1))
  const running = forwarder(port, started)
  const stop = async () => {
    await running.stop()
    fs.rmSync(home, { recursive: true, force: true })
  }
  return { ...running, stop }
}
