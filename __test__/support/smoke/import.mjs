import { isMainThread } from 'node:worker_threads'
import * as alknet from '@alkdev/alknet'
import suite from './suite.cjs'

await suite(alknet, process.cwd())
// Not every runtime lets a worker's output be kept from the terminal.
if (isMainThread) console.log('all is well')
