// Programs that are compiled once for the benches and kept outside the checkout.
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { ensureCrate } from '../../scripts/peers.mjs'
import { cacheDir, must } from '../../scripts/support.mjs'

export const BORE_VERSION = '0.6.0'
export const DUMBPIPE_VERSION = '0.40.1'

const places = path.join(cacheDir, 'benches')

/** The load generator; its source is one file of plain Rust. */
export async function ensureLoad() {
  const source = fileURLToPath(new URL('../load/load.rs', import.meta.url))
  const digest = createHash('sha256').update(fs.readFileSync(source)).digest('hex').slice(0, 16)
  const program = path.join(places, `load-${digest}`)
  if (fs.existsSync(program)) return program
  fs.mkdirSync(places, { recursive: true })
  const args = ['--edition', '2024', '-C', 'opt-level=3', '-o', `${program}.new`, source]
  await must('rustc', args, { what: 'compiling the load generator', quiet: true })
  fs.renameSync(`${program}.new`, program)
  return program
}

/** The peer bore. */
export const ensureBore = () =>
  ensureCrate(places, { name: 'bore', crate: 'bore-cli', version: BORE_VERSION })

/** The peer dumbpipe. The first time takes minutes. */
export const ensureDumbpipe = () =>
  ensureCrate(places, { name: 'dumbpipe', version: DUMBPIPE_VERSION })
