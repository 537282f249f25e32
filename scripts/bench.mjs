// Compares with named peers, on the optimised build.
//
//   npm run bench [-- arguments of benches/run.mjs]
import path from 'node:path'
import { build } from './build.mjs'
import { ensurePeers } from './peers.mjs'
import { ensureModules, program, root, run } from './support.mjs'

await program(import.meta.url, async (args) => {
  await ensureModules()
  await ensureModules(path.join(root, 'benches'))
  await ensurePeers({ programs: ['redis-server', 'ssh', 'ssh-keygen', 'sshd'] })
  await build({ release: true })
  return run(process.execPath, [path.join('benches', 'run.mjs'), ...args])
})
