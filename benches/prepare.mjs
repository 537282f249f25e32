// Before a run: the peers as the lock file has them; with --build an optimised alknet, with --program its command line as well.
import path from 'node:path'
import { build } from '../scripts/build.mjs'
import { ensureModules, program, root } from '../scripts/support.mjs'

await program(import.meta.url, async (args) => {
  await ensureModules(path.join(root, 'benches'))
  if (args.includes('--build')) await build({ release: true, program: args.includes('--program') })
})
