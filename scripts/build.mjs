// Builds the native addon and the program (native/) and the TypeScript facade (dist/), each only if its inputs have changed.
//
//   node scripts/build.mjs [--release] [-- arguments of napi build, such as --target aarch64-unknown-linux-musl -x]
import fs from 'node:fs'
import path from 'node:path'
import {
  bin,
  ci,
  ensureModules,
  ensureRust,
  env,
  Failure,
  must,
  onceFor,
  program,
  root,
  say,
} from './support.mjs'

const exe = process.platform === 'win32' ? '.exe' : ''
const alknet = path.join('native', `alknet${exe}`)
/** Nobody reads what the libraries say in `log`: the command line reads `tracing`. */
const released = ['--release', '--features', 'no-log']
const locked = ci ? ['--', '--locked'] : []

/**
 * Makes the package importable. `release` is the optimised build that is published; tests and demo share the other one. `program`
 * builds the command line as a program of its own too, as `cargo install` does.
 */
export async function build({ release = false, program = false, napi = [] } = {}) {
  await ensureModules()
  const profile = release ? 'release' : 'dev'
  const native = {
    name: 'native',
    inputs: ['src', 'binding', 'Cargo.toml', 'Cargo.lock', 'rust-toolchain.toml'],
    outputs: ['native/binding.d.ts', addon()],
    key: [profile, ...napi].join(' '),
  }
  await onceFor(native, () => buildNative(release, napi))
  const binary = { ...native, name: 'program', outputs: [alknet], key: profile }
  if (program) await onceFor(binary, () => buildProgram(release))
  const facade = {
    name: 'dist',
    inputs: ['ts', 'index.d.ts', 'tsconfig.json', 'tsconfig.build.json', 'native/binding.d.ts'],
    outputs: ['dist/index.js', 'dist/package.json'],
  }
  await onceFor(facade, buildFacade)
}

// Its name has the platform in it.
function addon() {
  const folder = path.join(root, 'native')
  const names = fs.existsSync(folder) ? fs.readdirSync(folder) : []
  return path.join('native', names.find((name) => name.endsWith('.node')) ?? 'no addon')
}

async function buildNative(release, napi) {
  await ensureRust()
  say(
    `building the native addon (${release ? 'optimised, takes minutes' : 'the first time takes minutes'})`,
  )
  const args = ['build', '--platform', '--manifest-path', 'binding/Cargo.toml']
  // ts/native.ts loads it: a loader of napi's is not wanted.
  args.push('--output-dir', 'native', '--no-js', '--dts', 'binding.d.ts', ...napi)
  if (release) args.push(...released)
  await must(process.execPath, [bin('@napi-rs/cli'), ...args, ...locked], {
    what: 'building the native addon',
  })
}

async function buildProgram(release) {
  say('building the program alknet')
  await buildOne(['--bin', 'alknet', ...(release ? released : [])], release ? 'release' : 'debug')
}

/** The peer of the tests that speaks iroh without alknet. */
export async function buildPipe() {
  const pipe = {
    name: 'iroh-pipe',
    inputs: ['tests/programs', 'Cargo.toml', 'Cargo.lock', 'rust-toolchain.toml'],
    outputs: [path.join('native', `iroh-pipe${exe}`)],
  }
  await onceFor(pipe, async () => {
    say('building a foreign peer of iroh')
    await buildOne(['--example', 'iroh-pipe'], path.join('debug', 'examples'))
  })
}

/** The agent of a tunnel as images of containers have it: with no more in it than it needs. */
export async function buildAgent() {
  const agent = {
    name: 'tunnel-client',
    inputs: ['src', 'Cargo.toml', 'Cargo.lock', 'rust-toolchain.toml'],
    outputs: [path.join('native', `tunnel-client${exe}`)],
  }
  await onceFor(agent, async () => {
    say('building the program tunnel-client')
    const slim = ['--no-default-features', '--features', 'agent,ring']
    await buildOne(['--bin', 'tunnel-client', ...slim], 'debug')
  })
}

/** Builds one target, which cargo leaves in `folder`, and puts it into native/. */
async function buildOne(target, folder) {
  await ensureRust()
  const name = target[1]
  const args = ['build', ...target, ...(ci ? ['--locked'] : [])]
  await must('cargo', args, { what: `building ${name}` })
  // Where cargo puts it depends on whether it was told a target.
  const places = [env.CARGO_BUILD_TARGET, ''].filter((target) => target !== undefined)
  const [built] = places
    .map((target) => path.join(env.CARGO_TARGET_DIR, target, folder, name + exe))
    .filter((place) => fs.existsSync(place))
  // One that runs cannot be written to, but another can take its name.
  const made = path.join(root, 'native', name + exe)
  fs.mkdirSync(path.dirname(made), { recursive: true })
  fs.copyFileSync(built, `${made}.new`)
  fs.renameSync(`${made}.new`, made)
}

async function buildFacade() {
  say('compiling ts/ to dist/')
  // What was renamed in ts/ must not live on in dist/.
  const dist = path.join(root, 'dist')
  fs.rmSync(dist, { recursive: true, force: true })
  await must(process.execPath, [bin('typescript'), '-p', 'tsconfig.build.json'], {
    what: 'compiling TypeScript',
  })
  fs.writeFileSync(path.join(dist, 'package.json'), '{ "type": "commonjs" }\n')
}

await program(import.meta.url, async (args) => {
  const end = args.includes('--') ? args.indexOf('--') : args.length
  const [own, napi] = [args.slice(0, end), args.slice(end + 1)]
  const unknown = own.find((arg) => arg !== '--release')
  if (unknown) throw new Failure(`unknown argument ${unknown}`)
  await build({ release: own.includes('--release'), program: napi.length === 0, napi })
})
