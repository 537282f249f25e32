// bore: a tunnel in Rust that encrypts nothing.
import { forwarder } from '../lib/forwards.mjs'
import { startProcess } from '../lib/processes.mjs'

export async function start({ bore }, target) {
  // Its control port is fixed. The client may have any other: it asks for a free one.
  const server = await startProcess(bore, ['server', '--bind-addr', '127.0.0.1'], {
    ready: (line) => /server listening/.test(line),
  })
  const to = ['--local-host', '127.0.0.1', '--to', '127.0.0.1']
  const client = await startProcess(bore, ['local', `${target}`, ...to], {
    ready: (line) => Number(/listening at 127\.0\.0\.1:(\d+)/.exec(plain(line))?.[1]) || undefined,
  })
  return forwarder(client.ready, server, client)
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: it colours its log
const plain = (line) => line.replaceAll(/\x1b\[[0-9;]*m/g, '')
