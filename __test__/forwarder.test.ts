import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { connect as tcp } from 'node:net'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { closing, discard } from './support/alknet.js'
import { hear, text } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import {
  binary,
  type Envelope,
  file,
  get,
  home,
  type Item,
  npm,
  service,
  streamingPost,
  there,
  through,
  told,
} from './support/forwarder.js'
import { clientKey, hostKey } from './support/keys.js'
import { leftOut } from './support/lacking.js'
import { freePort, startEcho, startTcp } from './support/net.js'
import { start } from './support/program.js'

describe('alknet forward, the runbook', () => {
  it.each([
    ['the program starts', binary, npm],
    ['the bin of the package starts', npm, binary],
  ])('holds line by line when %s and the other looks', async (_who, one, other) => {
    const { json, state, root } = home()
    const target = there(await service())
    const port = there(await freePort())
    const asked = ['--host', '127.0.0.1', '--listen-port', port, '--target-port', target]
    const begun = json(['start', ...asked], one)
    expect(begun).toMatchObject({ status: 0, stderr: '' })
    expect(begun.envelope).toMatchObject({ success: true, content: [{ type: 'json' }] })
    expect(begun.data).toMatchObject({
      listen_host: '127.0.0.1',
      listen_port: Number(port),
      target_host: '127.0.0.1',
      target_port: Number(target),
      log_file: path.join(root, 'logs', `forwarder-${port}.log`),
      state_file: path.join(state, `forwarder-${port}.json`),
    })
    expect(begun.data.message).toContain(`PID ${begun.data.pid}`)
    expect(begun.data.started_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    for (const at of [Number(port), Number(target)]) {
      expect(await get(at, '/health')).toBe('{"ok":true}')
      expect(await streamingPost(at)).toBe('data: first\n\ndata: second\n\n')
    }
    const again = json(['start', ...asked], other)
    expect(again).toMatchObject({ status: 0, data: { pid: begun.data.pid } })
    expect(again.data.message).toContain('already running')
    const [shown] = json(['status'], other).data.items as [Item]
    expect(shown).toMatchObject({
      status: 'running',
      pid: begun.data.pid,
      connections: { active: 0, accepted: 2, refused: 0 },
      last_error: null,
      target_reachable: true,
    })
    expect(shown.uptime).toMatch(/^0h 0m \d+s$/)
    expect(shown.bytes.down).toBeGreaterThan(20)
    expect(json(['stop', '--listen-port', port], other).data).toEqual({
      port: Number(port),
      success: true,
      message: `Forwarder stopped (was PID ${begun.data.pid})`,
    })
    expect(readdirSync(state)).toEqual([])
    const second = json(['start', ...asked], other).data
    expect(json(['kill', port], one).data.message).toBe(`Forwarder killed (was PID ${second.pid})`)
    expect(readdirSync(state)).toEqual([])
    expect(readdirSync(root).sort()).toEqual(['forwarders', 'logs'])
  })

  it('takes its port from the environment, and a flag wins', async () => {
    const { json } = home()
    const [named, flagged] = [there(await freePort()), there(await freePort())]
    const variables = { ALKNET_FORWARDER_LISTEN_PORT: named, ALKNET_FORWARDER_TARGET_PORT: '9' }
    expect(json(['start'], binary, variables).data).toMatchObject({
      listen_port: Number(named),
      target_port: 9,
    })
    const flag = json(['start', '--listen-port', flagged], npm, variables)
    expect(flag.data.listen_port).toBe(Number(flagged))
  })

  it('takes all of its place from the environment', async () => {
    const { json } = home()
    const port = await freePort()
    const variables = {
      ALKNET_FORWARDER_LISTEN_HOST: '127.0.0.2',
      ALKNET_FORWARDER_LISTEN_PORT: there(port),
      ALKNET_FORWARDER_TARGET_HOST: '127.0.0.3',
      ALKNET_FORWARDER_TARGET_PORT: '9',
    }
    expect(json(['start'], binary, variables).data).toMatchObject({
      listen_host: '127.0.0.2',
      listen_port: port,
      target_host: '127.0.0.3',
      target_port: 9,
    })
  })

  it('says what it is asked in Markdown, and how many there are not', () => {
    const { run, json } = home()
    const markdown = run(['status', '--format', 'markdown'])
    expect(markdown).toMatchObject({ status: 0, stderr: '' })
    expect(markdown.stdout).toMatch(/^```json\n\{[^`]*"status": "stopped"[^`]*\n```\n$/)
    const none = json(['status', '--listen-port', '3999'])
    expect(none).toMatchObject({ status: 0, data: { status: 'stopped', listen_port: 3999 } })
    expect(json(['stop', '--all'])).toMatchObject({ status: 0, data: { success: true } })
    expect(run(['stop'])).toMatchObject({ status: 1, stdout: '' })
    expect(run(['start', '--listen-port', '70000'])).toMatchObject({ status: 2, stdout: '' })
    expect(run(['start', '--format', 'xml']).status).toBe(2)
  })
})

describe('alknet forward', () => {
  it('keeps half-close, and counts', async () => {
    const { json } = home()
    const echo = await startEcho()
    const { data } = json(['start', '--listen-port', '0', '--target-port', there(echo.port)])
    expect(data.listen_port).toBeGreaterThan(0)
    expect(await through(data.listen_port, 'there and back')).toBe('there and back')
    const shown = json(['status', there(data.listen_port)]).data
    expect(shown).toMatchObject({ bytes: { up: 14, down: 14 }, connections: { accepted: 1 } })
  })

  it('refuses another mapping for the same port, unless it may replace it', async () => {
    const { json } = home()
    const [one, two] = [await startEcho(), await startTcp((socket) => socket.end('other'))]
    const port = there(await freePort())
    const first = json(['start', '--listen-port', port, '--target-port', there(one.port)]).data
    const other = ['start', '--listen-port', port, '--target-port', there(two.port)]
    const refused = json(other)
    expect(refused).toMatchObject({ status: 1, envelope: { success: false } })
    expect(refused.envelope.error).toMatchObject({ code: 'ERR_ALKNET_FORWARDER_EXISTS' })
    expect(refused.envelope.error?.suggestion).toContain('--replace')
    expect(await through(Number(port), 'x')).toBe('x')
    const replaced = json([...other, '--replace'])
    expect(replaced.status).toBe(0)
    expect(replaced.data.pid).not.toBe(first.pid)
    expect(await through(Number(port), '')).toBe('other')
  })

  it('has names besides ports', async () => {
    const { json } = home()
    const asked = ['start', '--name', 'web', '--listen-port', '0', '--target-port', '9']
    const { data } = json(asked)
    expect(data).toMatchObject({ id: 'web', name: 'web' })
    expect(json(asked).data.pid).toBe(data.pid)
    for (const which of [['web'], ['--name', 'web'], ['--listen-port', there(data.listen_port)]]) {
      expect(json(['status', ...which]).data).toMatchObject({ status: 'running', pid: data.pid })
    }
    const restarted = json(['restart', 'web'])
    expect(restarted).toMatchObject({ status: 0, data: { id: 'web', target_port: 9 } })
    expect(restarted.data.pid).not.toBe(data.pid)
    expect(json(['start', '--name', '../x']).envelope.error?.code).toBe('ERR_ALKNET_CONFIG')
  })

  it('leaves one worker when twenty are started at once', async () => {
    const { background, json } = home()
    const port = there(await freePort())
    const all = Array.from({ length: 20 }, () =>
      background(['start', '--listen-port', port, '--target-port', '9']),
    )
    const told = await Promise.all(all.map((program) => text(program.stdout)))
    const pids = told.map((answer) => (JSON.parse(answer) as Envelope).content[0]?.data.pid)
    expect(new Set(pids).size).toBe(1)
    expect(told.filter((answer) => answer.includes('already running'))).toHaveLength(19)
    expect(json(['status', port]).data).toMatchObject({ status: 'running', pid: pids[0] })
  })

  it('says why a port cannot be had, at once', async () => {
    const { json, state } = home()
    const echo = await startEcho()
    const taken = json(['start', '--listen-port', there(echo.port)])
    expect(taken).toMatchObject({ status: 1, envelope: { error: { code: 'EADDRINUSE' } } })
    expect(readdirSync(state)).toEqual([])
    const nowhere = json(['start', '--listen-port', '0', '--listen-host', '192.0.2.1'])
    expect(nowhere).toMatchObject({ status: 1, envelope: { error: { code: 'EADDRNOTAVAIL' } } })
  })

  it('loses one connection to a target that is down, logs it, and says so', async () => {
    const { json, run } = home()
    const target = await freePort()
    const { data } = json(['start', '--listen-port', '0', '--target-port', there(target)])
    const gone = discard(tcp(data.listen_port, '127.0.0.1'))
    await closing(gone)
    const shown = json(['status', there(data.listen_port)]).data
    expect(shown).toMatchObject({
      status: 'running',
      last_error: 'ECONNREFUSED',
      target_reachable: false,
      connections: { accepted: 1, refused: 1 },
    })
    const { stdout } = run(['logs', there(data.listen_port)])
    expect(stdout).toMatch(/^\d{4}-\d\d-\d\dT\S+Z +INFO .*refused code="?ECONNREFUSED/m)
    expect(stdout).not.toContain(there(target))
    const echo = await startTcp((socket) => void socket.pipe(socket))
    const checked = json(['status', there(data.listen_port), '--check']).data
    expect(checked.target_reachable).toBe(false)
    expect(echo.port).not.toBe(target)
  })

  it('drains what is open when it is stopped, and no longer than it may', async () => {
    const { json, background } = home()
    const target = await startTcp()
    const asked = ['--listen-port', '0', '--target-port', there(target.port), '--drain', '30']
    const { data } = json(['start', ...asked])
    const near = discard(tcp(data.listen_port, '127.0.0.1'))
    const far = await target.next()
    const stopping = background(['stop', there(data.listen_port)])
    // Nobody new is let in; who is in may go on.
    for (;;) {
      const late = discard(tcp(data.listen_port, '127.0.0.1'))
      const why = await Promise.race([once(late, 'connect').catch((e) => e.code), closing(late)])
      late.destroy()
      if (why === 'ECONNREFUSED') break
    }
    const answer = text(near)
    near.write('last words')
    expect(await hear(far, 10)).toBe('last words')
    far.end('heard')
    expect(await answer).toBe('heard')
    expect(await text(stopping.stdout)).toContain('Forwarder stopped')
    const held = json(['start', ...asked]).data
    const open = discard(tcp(held.listen_port, '127.0.0.1'))
    const cut = closing(open)
    await target.next()
    const forced = json(['stop', there(held.listen_port), '--force'])
    expect(forced).toMatchObject({ status: 0, data: { success: true } })
    await cut
  })

  it('is at no other’s environment, terminal or folder', async () => {
    const { json } = home()
    const { data } = json(['start', '--listen-port', '0'], binary, { SECRET_OF_MINE: 'leaked' })
    const about = (name: string) => readFileSync(`/proc/${data.pid}/${name}`, 'latin1')
    if (!existsSync('/proc/self/environ')) return
    expect(about('environ')).not.toMatch(/SECRET_OF_MINE|ALKNET_HOME/)
    // Told besides that no session costs it a thread, and nothing else.
    expect(about('cmdline').split('\0').slice(1, -1)).toEqual(['forward', 'worker', '--plain'])
    const fields = about('stat').split(') ')[1]?.split(' ') ?? []
    expect(fields[3]).toBe(String(data.pid)) // the leader of a session of its own
  })

  it('warns of a port that others can reach', () => {
    const { json } = home()
    expect(json(['start', '--listen-port', '0', '--host', '0.0.0.0']).data.warning).toContain(
      'other machines',
    )
  })

  it('goes through a server, and says why it cannot', async () => {
    const { json } = home()
    const echo = await startEcho()
    const server = start(
      file('native/alknet'),
      [
        ...['serve', '--json', '--listen', '127.0.0.1:0', '--key', (await hostKey()).path],
        ...['--authorized-keys', (await clientKey()).publicPath],
      ],
      { env: process.env },
    )
    const { connectionString } = await server.json<{ connectionString: string }>()
    const identity = ['--identity', (await clientKey()).path]
    const asked = ['--server', connectionString, '--listen-port', '0']
    const { data } = json(['start', ...asked, ...identity, '--target-port', there(echo.port)])
    expect(await through(data.listen_port, 'by ssh')).toBe('by ssh')
    expect(json(['status', there(data.listen_port)]).data).toMatchObject({
      status: 'running',
      server: connectionString,
    })
    const stranger = json(['start', ...asked, '--identity', (await hostKey()).path])
    expect(stranger).toMatchObject({
      status: 1,
      envelope: { error: { code: 'ERR_ALKNET_AUTH_REJECTED' } },
    })
  })
})

describe('alknet forward start --install', () => {
  const isLinux = process.platform === 'linux'

  it.runIf(isLinux)('writes a unit, has it enabled, and takes it away', () => {
    const { run, root } = home()
    // Stands for the service manager of a log-in, which there is none of here.
    const tools = path.join(root, 'tools')
    const calls = path.join(root, 'calls')
    mkdirSync(tools)
    const script = `#!/bin/sh\necho "$@" >> ${calls}\n`
    writeFileSync(path.join(tools, 'systemctl'), script, { mode: 0o755 })
    const more = { XDG_CONFIG_HOME: root, PATH: `${tools}:${process.env.PATH}` }
    const asked = ['start', '--name', 'web', '--listen-port', '0', '--target-host', '50%.example']
    expect(run([...asked, '--install'], npm, more)).toMatchObject({ status: 0, stderr: '' })
    const unit = path.join(root, 'systemd', 'user', 'alknet-forwarder-web.service')
    const text = readFileSync(unit, 'utf8')
    expect(text).toContain(`ExecStart="${process.execPath}" "${npm[1]}" "forward" "start"`)
    expect(text).toContain('"--target-host=50%%.example"')
    expect(text).toContain(`Environment="ALKNET_HOME=${root}"`)
    const verified = spawnSync('systemd-analyze', ['--user', 'verify', unit], {
      env: { ...process.env, XDG_RUNTIME_DIR: root },
      encoding: 'utf8',
    })
    const lack = verified.error && { of: 'systemd-analyze' }
    if (!leftOut('what systemd makes of a unit', lack))
      expect(verified).toMatchObject({ status: 0, stderr: '' })
    expect(run([...asked, '--uninstall'], npm, more).status).toBe(0)
    expect(existsSync(unit)).toBe(false)
    expect(readFileSync(calls, 'utf8').split('\n')).toEqual([
      ...['--user daemon-reload', '--user enable --now alknet-forwarder-web.service'],
      ...['--user disable --now alknet-forwarder-web.service', '--user daemon-reload', ''],
    ])
  })
})

describe('alknet forward tells the truth', () => {
  it('of a worker that was killed: it is dead, and starts again', async () => {
    const { env, json, run } = home()
    const port = there(await freePort())
    const { data } = json(['start', '--listen-port', port])
    process.kill(data.pid, 'SIGKILL')
    const dead = () => run(['status', port, '--exit-code'])
    while (dead().status === 0);
    expect(dead().status).toBe(1)
    expect(json(['status', port]).data).toMatchObject({ status: 'stale' })
    expect(json(['status', port]).data).not.toHaveProperty('pid')
    const again = json(['start', '--listen-port', port])
    expect(again.data.pid).not.toBe(data.pid)
    expect(run(['status', port, '--exit-code']).status).toBe(0)
    expect(spawnSync(binary[0] as string, ['status', port], { env }).status).toBe(0)
    expect(json(['stop', port]).status).toBe(0)
    expect(run(['status', port, '--exit-code']).status).toBe(3)
  })

  /** A process that nobody may signal. */
  const bystander = () => {
    const child: ChildProcess = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)'])
    afterwards(() => void child.kill('SIGKILL'))
    return child
  }

  it('of a state whose process id is another’s: nobody is signalled', () => {
    const { json, state } = home()
    const { data } = json(['start', '--listen-port', '0'])
    const stranger = bystander()
    const at = path.join(state, `forwarder-${data.listen_port}.json`)
    const forged = JSON.parse(readFileSync(at, 'utf8'))
    writeFileSync(at, JSON.stringify({ ...forged, pid: stranger.pid }))
    // While the worker lives, it is the one that is meant; afterwards nobody is.
    expect(json(['status', there(data.listen_port)]).data.pid).toBe(data.pid)
    expect(json(['kill', there(data.listen_port)]).data.message).toContain(`PID ${data.pid}`)
    writeFileSync(at, JSON.stringify({ ...forged, pid: stranger.pid }), { mode: 0o600 })
    expect(json(['status', there(data.listen_port)]).data.status).toBe('stale')
    for (const how of [['stop', '--force'], ['kill']]) {
      expect(json([...how, there(data.listen_port)])).toMatchObject({ status: 0 })
      writeFileSync(at, JSON.stringify({ ...forged, pid: stranger.pid }), { mode: 0o600 })
    }
    expect(stranger.exitCode).toBe(null)
    expect(stranger.signalCode).toBe(null)
    expect(process.kill(stranger.pid as number, 0)).toBe(true)
  })

  it('of a worker whose state is broken or gone, and whose socket is', () => {
    const { json, state } = home()
    for (const spoil of ['{', 'rm', 'socket'] as const) {
      const { data } = json(['start', '--listen-port', '0'])
      const at = (kind: string) => path.join(state, `forwarder-${data.listen_port}.${kind}`)
      if (spoil === '{') writeFileSync(at('json'), spoil)
      else rmSync(at(spoil === 'rm' ? 'json' : 'sock'))
      const shown = json(['status', there(data.listen_port)]).data
      expect(shown, spoil).toMatchObject({ status: 'running', pid: data.pid })
      const stopped = json(['stop', there(data.listen_port)])
      expect(stopped.data.message, spoil).toBe(`Forwarder stopped (was PID ${data.pid})`)
      expect(readdirSync(state)).toEqual([])
    }
    writeFileSync(path.join(state, 'forwarder-3999.json'), '{', { mode: 0o600 })
    const broken = json(['status', '3999']).data
    expect(broken.status).toBe('stale')
    expect(broken.fault).toContain('forwarder-3999.json')
    expect(json(['stop', '3999']).status).toBe(0)
  })

  it('of a worker that answers no more: it can be killed', async () => {
    const { json } = home()
    const { data } = json(['start', '--listen-port', '0'])
    process.kill(data.pid, 'SIGSTOP')
    const shown = json(['status', there(data.listen_port)]).data
    expect(shown).toMatchObject({ status: 'running', pid: data.pid })
    expect(json(['stop', there(data.listen_port), '--force']).status).toBe(0)
    expect(json(['status', there(data.listen_port)]).data.status).toBe('stopped')
  })

  it('of a zombie: it is dead', async () => {
    const { env, json } = home()
    // A parent that never asks how its children ended.
    const script = `import subprocess, sys, time
p = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
print(p.stdout.read().decode(), flush=True)
print('end', flush=True)
time.sleep(1e6)`
    const args = ['-c', script, ...binary, 'forward', 'start', '--listen-port', '0', '--format']
    const parent = start('python3', [...args, 'json'], { env })
    let said = ''
    for (;;) {
      const line = await parent.line()
      if (line === 'end') break
      said += line
    }
    const { pid, listen_port } = told(said)
    expect(json(['kill', there(listen_port)]).data.message).toContain(`PID ${pid}`)
    expect(json(['status', there(listen_port)]).data.status).toBe('stopped')
  })
})

describe('alknet forward and its folder', () => {
  it('keeps everything to its owner', () => {
    const { json, root, state } = home()
    const { data } = json(['start', '--listen-port', '0'])
    for (const folder of [state, path.join(root, 'logs')]) {
      expect(statSync(folder).mode & 0o777).toBe(0o700)
      for (const name of readdirSync(folder)) {
        expect(statSync(path.join(folder, name)).mode & 0o077, name).toBe(0)
      }
    }
    const found = JSON.parse(readFileSync(data.state_file, 'utf8'))
    expect(Object.keys(found).slice(0, 8)).toEqual([
      ...['pid', 'listenHost', 'listenPort', 'targetHost', 'targetPort', 'startedAt', 'version'],
      'schema',
    ])
  })

  it('refuses one that others may write to, with what mends it', () => {
    const { json, root, state } = home()
    mkdirSync(state)
    chmodSync(state, 0o777)
    const refused = json(['start', '--listen-port', '0'])
    expect(refused).toMatchObject({ status: 1, envelope: { error: { code: 'ERR_ALKNET_CONFIG' } } })
    expect(refused.envelope.error?.suggestion).toBe(`chmod 700 ${state}`)
    chmodSync(state, 0o700)
    chmodSync(root, 0o777)
    expect(json(['start', '--listen-port', '0']).envelope.error?.suggestion).toContain('chmod 700')
    chmodSync(root, 0o700)
  })

  it('writes through no link', async () => {
    const { json, root, state } = home()
    const port = there(await freePort())
    const victim = path.join(root, 'victim')
    writeFileSync(victim, 'mine')
    json(['start', '--listen-port', port])
    json(['stop', port])
    const logs = path.join(root, 'logs')
    for (const place of [
      path.join(state, `forwarder-${port}.json`),
      path.join(state, `forwarder-${port}.lock`),
      path.join(logs, `forwarder-${port}.log`),
    ]) {
      rmSync(place, { force: true })
      symlinkSync(victim, place)
      const done = json(['start', '--listen-port', port])
      if (done.status !== 0) expect(done.envelope.error?.code, place).toBe('ERR_ALKNET_CONFIG')
      expect(readFileSync(victim, 'utf8'), place).toBe('mine')
      rmSync(place, { force: true })
      json(['kill', port])
    }
    rmSync(state, { recursive: true })
    symlinkSync(logs, state)
    expect(json(['start', '--listen-port', port]).envelope.error?.code).toBe('ERR_ALKNET_CONFIG')
  })

  it('says so when the disk is full', () => {
    const { env, root } = home()
    // 512-byte blocks that a file may have; the shell's `trap ''` makes a write beyond them an error instead of a signal.
    const script = `trap '' XFSZ; ulimit -f 0; exec "$@"`
    const args = ['-c', script, 'sh', ...binary, 'forward', 'start', '--listen-port', '0']
    const done = spawnSync('sh', args, { env, encoding: 'utf8' })
    const envelope = JSON.parse(done.stdout) as Envelope
    expect(done.status).toBe(1)
    expect(['EFBIG', 'ENOSPC']).toContain(envelope.error?.code)
    expect(readdirSync(path.join(root, 'forwarders')).filter((n) => n.endsWith('.json'))).toEqual(
      [],
    )
  })

  it('lives on when it runs out of files', async () => {
    const { env, json } = home()
    const echo = await startEcho()
    const script = `ulimit -n 40; exec "$@"`
    const start = ['forward', 'start', '--listen-port', '0', '--target-port', there(echo.port)]
    const done = spawnSync('sh', ['-c', script, 'sh', ...binary, ...start], {
      env,
      encoding: 'utf8',
    })
    const { listen_port, pid } = told(done.stdout)
    const crowd = Array.from({ length: 40 }, () => discard(tcp(listen_port, '127.0.0.1')))
    await Promise.all(
      crowd.map((one) => Promise.race([once(one, 'connect').catch(() => {}), closing(one)])),
    )
    for (const one of crowd) one.destroy()
    let back = ''
    while (back !== 'still there') {
      back = await through(listen_port, 'still there').catch(() => '')
    }
    expect(json(['status', there(listen_port)]).data).toMatchObject({ status: 'running', pid })
  })
})
