/** Listens without ever accepting: prints its port and stops. Once two have connected nobody else can, and nobody is told. */
import { writeSync } from 'node:fs'
import { createServer } from 'node:net'

const listener = createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
  writeSync(1, `${listener.address().port}\n`)
  process.kill(process.pid, 'SIGSTOP')
})
