// `alknet serve` and `alknet connect -L`, as programs.
import path from 'node:path'
import { root } from '../../scripts/support.mjs'
import { forwarder } from './forwards.mjs'
import { startProcess } from './processes.mjs'

const program = path.join(root, 'native', 'alknet')
const event = (name) => (line) => {
  const told = line.startsWith('{') && JSON.parse(line)
  return told?.event === name ? told : undefined
}

/** Leads to `127.0.0.1:target`; `serve` and `connect` are more arguments, such as for another transport. */
export async function startAlknet(context, target, { serve = [], connect = [] } = {}) {
  const { hostKey, clientKey, clientPublicKey } = context
  const keys = ['--key', hostKey, '--authorized-keys', clientPublicKey]
  const listen = serve.includes('--listen') ? [] : ['--listen', '127.0.0.1:0']
  const server = await startProcess(program, ['serve', ...keys, ...listen, '--json', ...serve], {
    ready: event('listening'),
  })
  const reach = [server.ready.connectionString, '-i', clientKey]
  const forward = ['-L', `127.0.0.1:0:127.0.0.1:${target}`, '--no-socks5', '--json']
  const client = await startProcess(program, ['connect', ...reach, ...forward, ...connect], {
    ready: event('listening'),
  })
  return forwarder(Number(client.ready.addresses[0].split(':').at(-1)), server, client)
}
