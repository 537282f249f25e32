/** Listens on the Unix socket named on the command line, until it is killed. */
import { createServer } from 'node:net'

createServer().listen(process.argv[2], () => console.log('listening'))
