// Builds the native addon (native/) and the TypeScript facade (dist/), each only if its inputs have changed.
//
//   node scripts/build.mjs [--release]
import fs from 'node:fs'
import path from 'node:path'
import {
  bin,
  ci,
  ensureModules,
  ensureRust,
  Failure,
  must,
  onceFor,
  program,
  root,
  say,
} from './support.mjs'

const locked = ci ? ['--', '--locked'] : []

/** Makes the package importable. `release` is the optimised build that is published; tests and demo share the other one. */
export async function build({ release = false } = {}) {
  await ensureModules()
  const profile = release ? 'release' : 'dev'
  const native = {
    name: 'native',
    inputs: ['src', 'binding', 'Cargo.toml', 'Cargo.lock', 'rust-toolchain.toml'],
    outputs: ['native/binding.cjs', 'native/binding.d.ts', addon()],
    key: profile,
  }
  await onceFor(native, () => buildNative(release))
  const facade = {
    name: 'dist',
    inputs: ['ts', 'index.d.ts', 'tsconfig.json', 'native/binding.d.ts'],
    outputs: ['dist/index.js'],
  }
  await onceFor(facade, buildFacade)
}

// Its name has the platform in it.
function addon() {
  const folder = path.join(root, 'native')
  const names = fs.existsSync(folder) ? fs.readdirSync(folder) : []
  return path.join('native', names.find((name) => name.endsWith('.node')) ?? 'no addon')
}

async function buildNative(release) {
  await ensureRust()
  say(
    `building the native addon (${release ? 'optimised, takes minutes' : 'the first time takes minutes'})`,
  )
  const args = ['build', '--platform', '--manifest-path', 'binding/Cargo.toml']
  args.push('--output-dir', 'native', '--js', 'binding.cjs', '--dts', 'binding.d.ts')
  if (release) args.push('--release')
  await must(process.execPath, [bin('@napi-rs/cli'), ...args, ...locked], {
    what: 'building the native addon',
  })
}

async function buildFacade() {
  say('compiling ts/ to dist/')
  // What was renamed in ts/ must not live on in dist/.
  fs.rmSync(path.join(root, 'dist'), { recursive: true, force: true })
  await must(process.execPath, [bin('typescript'), '-p', 'tsconfig.json'], {
    what: 'compiling TypeScript',
  })
}

await program(import.meta.url, async (args) => {
  const unknown = args.find((arg) => arg !== '--release')
  if (unknown) throw new Failure(`unknown argument ${unknown}`)
  await build({ release: args.includes('--release') })
})
