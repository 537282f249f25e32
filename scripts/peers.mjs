// The programs of others that the tests and benches talk to: found, else installed, else named in one line.
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { cacheDir, ci, env, Failure, findProgram, output, run, say } from './support.mjs'

const packages = {
  chromium: 'chromium',
  curl: 'curl',
  'fail2ban-regex': 'fail2ban',
  faketime: 'faketime',
  ip: 'iproute2',
  microsocks: 'microsocks',
  'nats-server': 'nats-server',
  nginx: 'nginx-light',
  nmap: 'nmap',
  openssl: 'openssl',
  pebble: 'pebble',
  'pebble-challtestsrv': 'pebble',
  proxychains4: 'proxychains4',
  python3: 'python3',
  'redis-cli': 'redis-tools',
  'redis-server': 'redis-server',
  script: 'bsdutils',
  socat: 'socat',
  ssh: 'openssh-client',
  'ssh-keygen': 'openssh-client',
  sshd: 'openssh-server',
  'systemd-analyze': 'systemd',
  tinyproxy: 'tinyproxy-bin',
  unshare: 'util-linux',
  wrk: 'wrk',
}

const requirements = ['asyncssh==2.24.0']
const audit = ['ssh-audit==3.9.0']
// Of the same day as the crate iroh in Cargo.lock.
const RELAY = { name: 'iroh-relay', version: '1.4.1', features: ['server'], optimised: false }

/**
 * Sees to the named programs and, when `python` and `relay` are set, to a Python environment and a relay of iroh. What is missing fails
 * with `CI=true`, but for what `ALKNET_ALLOW_SKIP` names.
 */
export async function ensurePeers({ programs, python = false, relay = false }) {
  const unneeded = (process.env.ALKNET_ALLOW_SKIP ?? '').split(',')
  const wanted = new Set(programs.filter((name) => !findProgram(name) && !unneeded.includes(name)))
  if (python && !findProgram('python3')) wanted.add('python3')
  if (wanted.size > 0) await aptInstall(new Set([...wanted].map((name) => packages[name])))
  const missing = [...wanted].filter((name) => !findProgram(name)).map((name) => packages[name])
  // Each for itself: neither is to decide what the other can be installed with.
  const environments = { asyncssh: ['venv', requirements], 'ssh-audit': ['venv-ssh-audit', audit] }
  for (const [peer, [name, list]] of Object.entries(python ? environments : {})) {
    if (!unneeded.includes(peer) && !(await ensureVenv(name, list)))
      missing.push(`python3-venv with ${list.join(' ')}`)
  }
  if (relay && !unneeded.includes('iroh-relay') && !(await ensureRelay()))
    missing.push(`the crate iroh-relay ${RELAY.version}`)
  if (missing.length === 0) return
  const line = `missing: ${[...new Set(missing)].join(', ')}`
  if (ci) throw new Failure(`${line} (with CI=true every peer must be there)`)
  say(`${line}. THE TESTS THAT NEED THEM ARE SKIPPED; install them to run these too`)
}

async function aptInstall(names) {
  if (process.getuid?.() !== 0 || !findProgram('apt-get')) return false
  const list = [...names]
  say(`apt-get install ${list.join(' ')}`)
  const quietly = { quiet: true, env: { ...env, DEBIAN_FRONTEND: 'noninteractive' } }
  return withoutServices(async () => {
    const install = ['install', '-y', '--no-install-recommends', ...list]
    if ((await run('apt-get', install, { ...quietly, quiet: true })) === 0) return true
    await run('apt-get', ['update'], quietly)
    return (await run('apt-get', install, quietly)) === 0
  })
}

// Debian starts what it installs, and nobody wants an sshd on port 22 for having run some tests: policy-rc.d says no meanwhile.
async function withoutServices(work) {
  const policy = '/usr/sbin/policy-rc.d'
  const ours = !fs.existsSync(policy)
  if (ours) fs.writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    return await work()
  } finally {
    if (ours) fs.rmSync(policy, { force: true })
  }
}

const ensureRelay = () =>
  ensureCrate(cacheDir, RELAY).catch(({ message }) => {
    say(message)
    return undefined
  })

/**
 * The program `name` of a crate, compiled once and kept in a folder of its own in `home`. What nobody measures need not be optimised,
 * which takes a third of the time.
 */
export async function ensureCrate(home, wanted) {
  const { name, crate = name, version, features = [], optimised = true } = wanted
  const folder = path.join(home, `${name}-${version}`)
  const program = path.join(folder, 'bin', name)
  if (fs.existsSync(program)) return program
  say(`installing ${name} ${version}, which takes minutes`)
  const args = ['install', crate, '--version', version, '--locked', '--root', folder]
  for (const feature of features) args.push('--features', feature)
  if (!optimised) args.push('--debug')
  const target = path.join(folder, 'target')
  const quietly = {
    quiet: true,
    env: { ...env, CARGO_TARGET_DIR: target, CARGO_PROFILE_DEV_DEBUG: '0' },
  }
  await must('cargo', args, { what: `installing ${name}`, ...quietly })
  fs.rmSync(target, { recursive: true, force: true })
  return program
}

/**
 * A virtual environment outside the checkout, rebuilt when the requirements change. Resolves to the folder of its programs, or to
 * undefined when it cannot be made.
 */
export async function ensureVenv(name, requirements) {
  const venv = path.join(cacheDir, name)
  const programs = path.join(venv, 'bin')
  const python = path.join(programs, 'python')
  const stamp = path.join(venv, '.requirements')
  const wanted = createHash('sha256').update(requirements.join('\n')).digest('hex')
  const known = fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === wanted
  // A new Python takes the packages of the old one away.
  if (known && (await output(python, ['-m', 'pip', 'check'])) !== undefined) return programs
  if (!findProgram('python3')) return undefined
  say(`making a Python environment with ${requirements.join(' ')}`)
  fs.rmSync(venv, { recursive: true, force: true })
  fs.mkdirSync(cacheDir, { recursive: true })
  if ((await output('python3', ['-c', 'import ensurepip'])) === undefined)
    await aptInstall(['python3-venv'])
  if ((await run('python3', ['-m', 'venv', venv], { quiet: true })) !== 0) return undefined
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...requirements]
  if ((await run(python, pip, { quiet: true })) !== 0) return undefined
  fs.writeFileSync(stamp, wanted)
  return programs
}
