// Formatters, linters, types and what is documented, all of them before the verdict.
//
//   node scripts/lint.mjs [--fix] [--only rust|js|types]
import { build } from './build.mjs'
import { jsDocs, rustDocs } from './docs.mjs'
import { bin, ci, ensureModules, ensureRust, Failure, program, run, say } from './support.mjs'

const node = process.execPath
const colors = process.stdout.isTTY ? '--colors=force' : '--colors=off'
const locked = ci ? ['--locked'] : []

// The library alone, and the agent for containers.
const slim = ['ring,rsa', 'agent,ring'].map((features) => [
  ...['cargo', 'clippy', '-p', 'alknet', '--no-default-features', '--features', features],
  ...[...locked, '--', '-D', 'warnings'],
])

const flat = ([command, args]) => [command, ...args]

const checks = {
  rust: (fix) => [
    ['cargo', 'fmt', '--all', ...(fix ? [] : ['--check'])],
    ['cargo', 'fmt', '--manifest-path', 'fuzz/Cargo.toml', ...(fix ? [] : ['--check'])],
    ['cargo', 'clippy', '--workspace', '--all-targets', ...locked, '--', '-D', 'warnings'],
    // What is optional must not be needed.
    ...slim,
    flat(rustDocs),
  ],
  js: (fix) => [
    [node, bin('@biomejs/biome'), ...(fix ? ['check', '--write'] : ['ci']), colors, '.'],
  ],
  types: () => [
    [node, bin('typescript'), '-p', 'tsconfig.check.json'],
    flat(jsDocs({ check: true })),
  ],
}

async function main(args) {
  const fix = args.includes('--fix')
  const only = args.includes('--only') ? args[args.indexOf('--only') + 1] : undefined
  if (only && !checks[only]) throw new Failure(`--only takes ${Object.keys(checks).join(', ')}`)
  await ensureModules()
  const names = only ? [only] : Object.keys(checks)
  if (names.includes('rust')) await ensureRust()
  // The types of the addon are made by building it.
  if (names.includes('types')) await build()
  const failed = []
  for (const [command, ...rest] of names.flatMap((name) => checks[name](fix))) {
    const shown = [command, ...rest].map((word) => word.replace(/^.*\/(bin\/)?/, '')).join(' ')
    say(shown)
    if ((await run(command, rest)) !== 0) failed.push(shown)
  }
  for (const line of failed) say(`FAILED: ${line}`)
  if (failed.length === 0) say('formatters, linters, types and docs are content')
  return failed.length === 0 ? 0 : 1
}

await program(import.meta.url, main)
