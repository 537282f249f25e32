import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect as tcp } from 'node:net'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { closing, discard } from './support/alknet.js'
import { MiB, receive, say, send, text } from './support/bytes.js'
import {
  binary,
  type Envelope,
  get,
  home,
  npm,
  service,
  there,
  through,
} from './support/forwarder.js'
import { clientKey, hostKey, scratch } from './support/keys.js'
import { lackOf, leftOut } from './support/lacking.js'
import { freePort, startBlackHole, startEcho, startTcp } from './support/net.js'
import { describeWith, peerPath } from './support/peers.js'
import { start } from './support/program.js'
import { startSshd } from './support/sshd.js'

describe('alknet forward, configured', () => {
  it('has its port from the file, the environment before it, a flag before both', async () => {
    const { json, root } = home()
    const [filed, named, flagged] = [await freePort(), await freePort(), await freePort()]
    const target = await service()
    const config = `[forward]\nlisten-port = ${filed}\ntarget-port = ${target}\n`
    writeFileSync(path.join(root, 'config.toml'), config)
    const variables = { ALKNET_FORWARDER_LISTEN_PORT: there(named) }
    expect(json(['start']).data.listen_port).toBe(filed)
    expect(json(['start'], npm, variables).data.listen_port).toBe(named)
    const flag = ['start', '--listen-port', there(flagged)]
    expect(json(flag, binary, variables).data.listen_port).toBe(flagged)
    for (const port of [filed, named, flagged]) {
      expect(await get(port, '/health')).toBe('{"ok":true}')
    }
    // The file says where new ones listen, not which are meant.
    const all = [filed, named, flagged].sort()
    const ports = (items: { listen_port: number }[]) => items.map((item) => item.listen_port).sort()
    expect(ports(json(['status']).data.items)).toEqual(all)
    expect(json(['kill', '--all']).data.items).toHaveLength(3)
    expect(json(['status']).data.items).toMatchObject([{ status: 'stopped' }])
  })

  it('keeps its state where XDG has it, and touches nothing else', async () => {
    const { env, root } = home()
    const own = { ...env, HOME: root }
    const run = (args: string[], more: NodeJS.ProcessEnv = {}) =>
      spawnSync(binary[0] as string, ['forward', ...args], {
        env: { ...own, ALKNET_HOME: '', XDG_STATE_HOME: '', XDG_CONFIG_HOME: '', ...more },
        encoding: 'utf8',
      })
    const found = (folder: string) => readdirSync(folder, { recursive: true }).map(String).sort()
    expect(run(['start', '--listen-port', '0', '--name', 'x']).status).toBe(0)
    const state = ['forwarders', 'forwarders/forwarder-x.json', 'forwarders/forwarder-x.lock']
    const files = [...state, 'forwarders/forwarder-x.sock', 'logs', 'logs/forwarder-x.log']
    expect(found(path.join(root, '.local/state/alknet'))).toEqual(files)
    expect(readdirSync(root)).toEqual(['.local'])
    expect(run(['stop', 'x']).status).toBe(0)
    const named = { XDG_STATE_HOME: path.join(root, 'state') }
    expect(run(['start', '--listen-port', '0', '--name', 'x'], named).status).toBe(0)
    expect(found(path.join(root, 'state/alknet'))).toEqual(files)
    expect(run(['kill', 'x'], named).status).toBe(0)
    expect(readdirSync(root)).toEqual(['.local', 'state'])
  })
})

describe('alknet forward, what it carries', () => {
  it('is whole in bulk, both ways at once and over eight connections', async () => {
    const { json } = home()
    const echo = await startEcho()
    const { data } = json(['start', '--listen-port', '0', '--target-port', there(echo.port)])
    const one = async () => {
      const socket = discard(tcp(data.listen_port, '127.0.0.1'))
      await Promise.all([send(socket, 4 * MiB), receive(socket, 4 * MiB)])
      const ended = text(socket)
      socket.end()
      expect(await ended).toBe('')
    }
    await Promise.all(Array.from({ length: 8 }, one))
    const shown = json(['status', there(data.listen_port)]).data
    expect(shown.bytes).toEqual({ up: 32 * MiB, down: 32 * MiB })
  })

  it('ends when nothing has moved for as long as it may, and only then', async () => {
    const { json, run } = home()
    const echo = await startEcho()
    const asked = ['start', '--listen-port', '0', '--target-port', there(echo.port)]
    const { data } = json([...asked, '--idle-timeout', '1'])
    const socket = discard(tcp(data.listen_port, '127.0.0.1'))
    await say(socket, socket, 'once')
    await closing(socket)
    expect(run(['logs', there(data.listen_port)]).stdout).toContain('silent for too long')
    expect(json(['status', there(data.listen_port)]).data.connections.active).toBe(0)
  })

  it('resets who comes to a target that does not answer, and who is one too many', async () => {
    const { json } = home()
    const hole = await startBlackHole()
    const asked = ['start', '--listen-port', '0', '--target-port', there(hole)]
    const bounds = ['--connect-timeout', '1', '--max-connections', '1']
    const { data } = json([...asked, ...bounds])
    const two = [1, 2].map(() => closing(discard(tcp(data.listen_port, '127.0.0.1'))))
    await Promise.all(two)
    const shown = json(['status', there(data.listen_port)]).data
    expect(shown).toMatchObject({
      last_error: 'ETIMEDOUT',
      target_reachable: false,
      connections: { accepted: 2, refused: 2, active: 0 },
    })
  })

  it('is known before anybody connected, when it is asked to look', async () => {
    const { json } = home()
    const target = await startTcp()
    const { data } = json(['start', '--listen-port', '0', '--target-port', there(target.port)])
    const look = (...args: string[]) => json(['status', there(data.listen_port), ...args]).data
    expect(look().target_reachable).toBe(null)
    expect(look('--check').target_reachable).toBe(true)
    expect(look().connections.accepted).toBe(0)
  })
})

describe('alknet forward and a port that is taken', () => {
  it('does not wake who has it, on that address or on all', async () => {
    const { json } = home()
    for (const host of ['127.0.0.1', '0.0.0.0']) {
      const other = await startTcp(undefined, host)
      const taken = json(['start', '--listen-port', there(other.port)])
      expect(taken, host).toMatchObject({ status: 1, envelope: { error: { code: 'EADDRINUSE' } } })
      expect(other.sockets.size, host).toBe(0)
    }
  })

  it('finds one that is bound and not listened on', async () => {
    const { json } = home()
    const script = `import socket, sys
s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); sys.stdin.read()`
    const port = await start('python3', ['-c', script]).line()
    expect(json(['start', '--listen-port', port]).envelope.error?.code).toBe('EADDRINUSE')
  })
})

describeWith('sshd', 'alknet forward through OpenSSH', () => {
  it('comes back after its session was killed, on the same port', async () => {
    const { json } = home()
    const [sshd, echo] = [await startSshd(), await startEcho()]
    const asked = ['start', '--server', sshd.server, '--user', sshd.user, '--listen-port', '0']
    const keys = [
      '--identity',
      (await clientKey()).path,
      '--host-key',
      (await hostKey()).fingerprint,
    ]
    const { data } = json([...asked, ...keys, '--target-port', there(echo.port)])
    expect(await through(data.listen_port, 'before')).toBe('before')
    sshd.killSessions()
    let back = ''
    while (back !== 'after') back = await through(data.listen_port, 'after').catch(() => '')
    expect(json(['status', there(data.listen_port)]).data.pid).toBe(data.pid)
    // What serves its session holds on to sshd's standard error.
    expect(json(['stop', there(data.listen_port)]).status).toBe(0)
  })
})

describe('alknet forward in a small world', () => {
  /** Runs a script of the shell with a file system of its own at $1, as root of its own. */
  const apart = (script: string, root: string, env: NodeJS.ProcessEnv) =>
    spawnSync('unshare', ['-rm', 'sh', '-euc', script, 'sh', root, binary[0] as string], {
      env,
      encoding: 'utf8',
    })
  const tried = apart('mount -t tmpfs none "$1"', mkdtempSync(path.join(scratch(), 'm-')), {})
  const lack = tried.status === 0 ? undefined : lackOf('tmpfs', tried)

  it.skipIf(leftOut('a full disk', lack))(
    'says that the disk is full, and lives on when it becomes so',
    async () => {
      const { env, root } = home()
      const target = await freePort()
      const script = `
      mount -t tmpfs -o size=64k,mode=700 none "$1"
      mkdir -m 700 "$1"/forwarders "$1"/logs
      fill() { dd if=/dev/zero of="$1"/ballast bs=4k 2>/dev/null || true; }
      fill "$1"
      "$2" forward start --listen-port 0 --target-port ${target} || echo "exit $?"
      rm "$1"/ballast
      "$2" forward start --name x --listen-port 0 --target-port ${target}
      fill "$1"
      port=$("$2" forward status x | sed -n 's/.*"listen_port": \\([0-9]*\\).*/\\1/p')
      # A connection whose failure cannot be logged.
      : | timeout 5 socat - TCP:127.0.0.1:$port || true
      "$2" forward status x
      "$2" forward stop x
      find "$1" -type f -path '*forwarders*'`
      const done = apart(script, root, env)
      const [full, begun, shown, stopped, ...left] = answers(done.stdout)
      expect(full?.envelope.error?.code, done.stdout + done.stderr).toBe('ENOSPC')
      expect(full?.after).toBe('exit 1')
      expect(begun?.envelope.success).toBe(true)
      const pid = begun?.envelope.content[0]?.data.pid
      expect(shown?.envelope.content[0]?.data).toMatchObject({
        status: 'running',
        pid,
        last_error: 'ECONNREFUSED',
      })
      expect(stopped?.envelope.content[0]?.data.message).toBe(`Forwarder stopped (was PID ${pid})`)
      expect([left, stopped?.after]).toEqual([[], ''])
    },
  )

  it('closes who comes when it has no descriptor left, and serves again when it has', async () => {
    const { json } = home()
    const echo = await startEcho()
    const { data } = json(['start', '--listen-port', '0', '--target-port', there(echo.port)])
    const held = discard(tcp(data.listen_port, '127.0.0.1'))
    await say(held, held, 'before')
    const limit = (soft: string) =>
      spawnSync('prlimit', ['--pid', `${data.pid}`, `--nofile=${soft}:`]).status
    const before = readFileSync(`/proc/${data.pid}/limits`, 'utf8')
    const [, usual] = /Max open files +(\d+)/.exec(before) as unknown as [string, string]
    expect(limit('12')).toBe(0)
    await closing(discard(tcp(data.listen_port, '127.0.0.1')))
    await say(held, held, 'meanwhile')
    expect(limit(usual)).toBe(0)
    let back = ''
    while (back !== 'after') back = await through(data.listen_port, 'after').catch(() => '')
    expect(json(['status', there(data.listen_port)]).data).toMatchObject({ status: 'running' })
  })
})

/** Answers in JSON one after another, and the words after each. */
function answers(said: string): { envelope: Envelope; after: string }[] {
  return said
    .split(/^(?=\{$)/m)
    .filter((part) => part.startsWith('{'))
    .map((part) => {
      const end = part.indexOf('\n}\n') + 3
      return { envelope: JSON.parse(part.slice(0, end)), after: part.slice(end).trim() }
    })
}

describeWith('faketime', 'alknet forward and the clock', () => {
  /** What has a program see another time, which the file says; what it measures is not touched. */
  const faked = (file: string) => {
    const told = spawnSync(peerPath('faketime'), ['now', 'printenv', 'LD_PRELOAD'], {
      encoding: 'utf8',
    })
    return {
      LD_PRELOAD: told.stdout.trim(),
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    }
  }

  it('goes on when that jumps, and is shown by who lives in another year', async () => {
    const { env, json, root } = home()
    const clock = path.join(root, 'clock')
    const set = (offset: string) => writeFileSync(clock, `${offset}\n`)
    const echo = await startEcho()
    set('+0')
    const unit = `[up.web]\nrun = "forward"\nlisten-port = 0\ntarget-port = ${echo.port}\nidle-timeout = 60\n`
    writeFileSync(path.join(root, 'config.toml'), unit)
    const up = start(binary[0] as string, ['up', '--json'], { env: { ...env, ...faked(clock) } })
    let at: string | undefined
    while (at === undefined) at = (await up.json<{ addresses?: string[] }>()).addresses?.[0]
    const port = Number(at.split(':').at(-1))
    const held = discard(tcp(port, '127.0.0.1'))
    await say(held, held, 'before')
    for (const jump of ['+3000d', '-3000d']) {
      set(jump)
      await say(held, held, `there after ${jump}`)
      expect(await through(port, 'anew')).toBe('anew')
    }
    set('-3000d')
    const begun = json(['start', '--name', 'x', '--listen-port', '0'], binary, faked(clock))
    set('+3000d')
    const shown = json(['status', 'x'], binary, faked(clock)).data
    expect(shown).toMatchObject({ status: 'running', pid: begun.data.pid })
    expect(shown.uptime).toMatch(/^0h 0m \d+s$/)
    expect(json(['stop', 'x'], binary, faked(clock)).status).toBe(0)
  })
})

describe('alknet forward status on a terminal', () => {
  /** What a terminal of 120 columns gets to see. */
  const onTerminal = (args: string, env: NodeJS.ProcessEnv) => {
    const command = `${binary[0]} ${args}`
    const shown = spawnSync('script', ['-qec', command, '/dev/null'], { env, encoding: 'utf8' })
    return shown.stdout
  }

  it('is a table there, coloured unless that is not wanted, and JSON elsewhere', async () => {
    const { env: inherited, json } = home()
    // Whoever runs the tests may want no colours.
    const env = { ...inherited, NO_COLOR: '' }
    const port = await freePort()
    const { data } = json([
      'start',
      '--name',
      'web',
      '--listen-port',
      '0',
      '--target-port',
      there(port),
    ])
    await closing(discard(tcp(data.listen_port, '127.0.0.1')))
    const [heading, row] = onTerminal('status', { ...env, NO_COLOR: '1' }).split('\r\n') as [
      string,
      string,
    ]
    expect(heading).toMatch(
      /^FORWARDER +STATUS +LISTENS +TARGET +ANSWERS +OPEN\/ALL +UP\/DOWN +UPTIME +PID/,
    )
    expect(row).toMatch(
      /^web +running +127\.0\.0\.1:\d+ +127\.0\.0\.1:\d+ +no +0\/1 +0\/0 +\d+s +\d+ +ECONNREFUSED$/,
    )
    expect(onTerminal('forward status', env)).toContain('\u001b[32mrunning')
    expect(onTerminal('forward status --format json', env)).toContain('"status": "running"')
    const nowhere = spawnSync(binary[0] as string, ['status'], { env, encoding: 'utf8' })
    expect(JSON.parse(nowhere.stdout)).toMatchObject({ success: true })
    process.kill(data.pid, 'SIGKILL')
    while (json(['status', 'web']).data.status === 'running');
    expect(onTerminal('status', env)).toContain('alknet forward restart web')
  })
})
