import * as alknet from '@alkdev/alknet'
import suite from './suite.cjs'

await suite(alknet, process.cwd())
console.log('all is well')
