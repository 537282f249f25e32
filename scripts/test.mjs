// Sets everything up, then runs the Rust and the JavaScript tests and adds them up in the last line.
//
//   npm test                                  everything
//   npm test -- --rust [cargo test arguments]
//   npm test -- --js [vitest arguments]
//
// What installs from a registry is apart:
//
//   npm run test:package [-- vitest arguments]    the packed packages under package managers, compilers, test runners, bundlers
//   npm run test:runtimes [-- vitest arguments]   the same packages in every supported Node, in Bun and in Deno
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { build, buildAgent, buildPipe } from './build.mjs'
import { ensurePeers } from './peers.mjs'
import {
  bin,
  cacheDir,
  ci,
  ensureModules,
  ensureRust,
  env,
  program,
  readJson,
  run,
  say,
} from './support.mjs'

const apart = ['--package', '--runtimes']
const peers = [
  ...[
    'chromium',
    'curl',
    'fail2ban-regex',
    'faketime',
    'microsocks',
    'nats-server',
    'nginx',
    'nmap',
    'pebble',
    'pebble-challtestsrv',
    'openssl',
  ],
  ...['proxychains4', 'redis-cli', 'redis-server', 'socat', 'ssh', 'ssh-keygen', 'sshd'],
  ...['tinyproxy', 'ip', 'script', 'systemd-analyze', 'unshare'],
]

async function main(args) {
  const known = ['--rust', '--js', ...apart].includes(args[0])
  const [only, ...rest] = known ? args : [undefined, ...args]
  await ensureModules()
  await ensureRust()
  if (apart.includes(only)) return testsApart(only.slice(2), rest)
  await ensurePeers({ programs: peers, python: true, relay: only !== '--rust' })
  if (only !== '--rust') await build({ program: true })
  const results = []
  if (only !== '--js') results.push(await rustTests(rest))
  if (only !== '--rust') {
    await buildPipe()
    await buildAgent()
    results.push(await jsTests(rest))
  }
  return report(results)
}

/** The suites of one folder of __test__/. */
async function testsApart(folder, args) {
  await build()
  env.ALKNET_TOOLS_DIR = path.join(cacheDir, 'tools')
  const config = ['--config', 'vitest.apart.config.ts', '--dir', `__test__/${folder}`]
  return report([await jsTests([...config, ...args])])
}

async function rustTests(args) {
  // The same inputs on every run: news is the fuzzer's to find (npm run fuzz), and a red run can be had again.
  env.PROPTEST_RNG_SEED ??= '4253'
  say('Rust tests (cargo test)')
  const count = { name: 'Rust', passed: 0, failed: 0, skipped: 0 }
  const onLine = (line) => {
    const found = /^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/.exec(line)
    if (!found) return
    count.passed += Number(found[1])
    count.failed += Number(found[2])
    count.skipped += Number(found[3])
  }
  const locked = ci ? ['--locked'] : []
  const code = await run('cargo', ['test', '--workspace', '--no-fail-fast', ...locked, ...args], {
    onLine,
  })
  return settled(count, code)
}

async function jsTests(args) {
  say('JavaScript tests (vitest)')
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'alknet-vitest-'))
  const file = path.join(directory, 'report.json')
  try {
    const code = await run(process.execPath, [
      bin('vitest'),
      'run',
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${file}`,
      ...args,
    ])
    const { numPassedTests = 0, numFailedTests = 0, numTotalTests = 0 } = readJson(file) ?? {}
    const skipped = numTotalTests - numPassedTests - numFailedTests
    const count = { name: 'JavaScript', passed: numPassedTests, failed: numFailedTests, skipped }
    return settled(count, code)
  } finally {
    fs.rmSync(directory, { recursive: true, force: true })
  }
}

// A runner that fails without a failed test (it did not compile, a suite did not load, nothing ran) is a failure all the same.
function settled(count, code) {
  const silent = code !== 0 && count.failed === 0
  const empty = code === 0 && count.passed === 0
  return silent || empty ? { ...count, failed: 1 } : count
}

function report(results) {
  console.log()
  for (const { name, passed, failed, skipped } of results) {
    console.log(`${name}: ${passed} passed, ${failed} failed, ${skipped} skipped`)
  }
  const sum = (key) => results.reduce((total, result) => total + result[key], 0)
  console.log(`${sum('passed')} passed, ${sum('failed')} failed`)
  return sum('failed') === 0 ? 0 : 1
}

await program(import.meta.url, main)
