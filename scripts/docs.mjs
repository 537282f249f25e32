// Generates the API reference of both languages. Everything public must be documented, and every link must lead somewhere.
//
//   npm run docs
import { bin, ensureModules, ensureRust, env, must, program, say } from './support.mjs'

/** Rust's, into the target directory. */
export const rustDocs = [
  'cargo',
  ['doc', '--workspace', '--no-deps', '--config', 'build.rustdocflags=["-D", "warnings"]'],
]

/** JavaScript's, from index.d.ts into api/; see typedoc.json. `check` writes nothing. */
export function jsDocs({ check = false } = {}) {
  return [process.execPath, [bin('typedoc'), ...(check ? ['--emit', 'none'] : [])]]
}

await program(import.meta.url, async () => {
  await ensureModules()
  await ensureRust()
  await must(...jsDocs())
  await must(...rustDocs)
  say('JavaScript: api/index.html')
  say(`Rust: ${env.CARGO_TARGET_DIR}/${env.CARGO_BUILD_TARGET}/doc/alknet/index.html`)
})
