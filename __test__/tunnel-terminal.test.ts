import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import {
  env,
  file,
  chain as pieces,
  program,
  startAgent,
  startHost,
  startRunner,
  url,
} from './support/chain.js'
import { scratch } from './support/keys.js'
import { startTcp } from './support/net.js'
import { start } from './support/program.js'
import { type Seat, sit } from './support/terminal.js'
import { dialHost, type Peer, startOriginalAgent, startOriginalRunner } from './support/tunnel.js'

// Shells of the tests read nothing of whoever runs them.
env.HOME = scratch()

const registry = (runner: string, task: object = {}) => ({
  nodes: { n1: { url: runner } },
  tasks: { 5: { node: 'n1', ...task } },
})

/** The URL of a host. */
async function hostOf(registry: unknown, ...args: string[]) {
  return url((await startHost(registry, ...args)).at)
}

/** Runner, host and agent of task 5. */
async function chain() {
  const { host, ...others } = await pieces()
  return { ...others, host: url(host.at) }
}

const connect = (host: string, ...args: string[]) => [
  program,
  'tunnel',
  '-H',
  host,
  'connect',
  '5',
  ...args,
]

/** Somebody at the terminal of task 5, whose shell shows nothing but what it is asked for. */
async function seat(host: string, size = {}): Promise<Seat> {
  const user = sit(connect(host), { env, ...size })
  user.type("PS1=; bind 'set enable-bracketed-paste off'; stty -echo; echo re''ady\r")
  await user.sees(/ready\r\n/)
  return user
}

/** A user of the original, that says its size and has its answer. */
async function original(host: string, size: object | null = { rows: 30, cols: 100 }) {
  const peer = await dialHost(`${host}/ws/task/5/terminal`)
  if (peer.socket.readyState !== WebSocket.OPEN) {
    await new Promise((resolve) => peer.socket.once('open', resolve))
  }
  if (size) say(peer, { type: 'resize', ...size })
  expect(await peer.text()).toBe('{"type":"output","data":""}')
  return peer
}

const say = (peer: Peer, message: object) => peer.socket.send(JSON.stringify(message))

/** What the screen shows, until it fits. */
async function shown(peer: Peer, expected: RegExp): Promise<RegExpExecArray> {
  let text = ''
  for (;;) {
    const message = JSON.parse(await peer.text()) as { type: string; data: string }
    expect(message.type).toBe('output')
    text += message.data
    const found = expected.exec(text)
    if (found) return found
  }
}

describe('alknet tunnel connect', () => {
  it('is a terminal of the container: its size, every change of it, and its exit code', async () => {
    const { host } = await chain()
    const user = await seat(host, { rows: 33, cols: 101 })
    user.type('stty size; tty\r')
    await user.sees(/33 101\r\n\/dev\/pts\/\d+\r\n/)
    const told = 'sleep 1000 & trap "stty size; kill $!; exit" WINCH; echo wait""ing; wait'
    user.type(`sh -c '${told}'\r`)
    await user.sees(/waiting\r\n/)
    user.resize(40, 132)
    await user.sees(/40 132\r\n/)
    user.type('exit 7\r')
    expect(await user.ended()).toEqual({ code: 7, same: true })
  })

  it('hands on every key, and each sign whole', async () => {
    const { host } = await chain()
    const user = await seat(host)
    // What an editor gets: escapes, control keys, signs of four bytes.
    const keys = '\u001b[A\u001bOP\u0001\u0003\u0004\u001a\u007fé€😀:wq'
    const bytes = Buffer.from(keys)
    user.type(
      `stty raw; echo re''ading; dd bs=1 count=${bytes.length} status=none | od -An -v -tx1 -w99; stty sane\r`,
    )
    await user.sees(/reading/)
    user.type(keys)
    const hex = bytes.toString('hex').replace(/../g, ' $&')
    expect((await user.sees(/( [0-9a-f]{2}){20,}/))[0]).toBe(hex)
    user.type('\rexit\r')
    expect(await user.ended()).toMatchObject({ same: true })
  })

  it('cuts no sign in a text, wherever the program cut it', async () => {
    const { host } = await chain()
    const peer = await original(host)
    // One byte at a time, each written by itself; then signs across the pieces that a terminal is read in.
    const signs = '😀'.repeat(3)
    const single = Buffer.from(signs).toString('hex').replace(/../g, '\\x$& ').trim().split(' ')
    const script = single.map((byte) => `printf '${byte}'; sleep 0.01`).join('; ')
    say(peer, {
      type: 'input',
      data: `stty -echo; PS1=; ${script}; echo :; printf 'x%.0s😀' $(seq 5000); echo .\r`,
    })
    const [, all] = await shown(peer, /(😀{3}:\r\n(?:x😀)+)\./u)
    expect(all).toBe(`${signs}:\r\n${'x😀'.repeat(5000)}`)
    // What can be no sign is shown as such, and nothing waits for it.
    say(peer, { type: 'input', data: "printf 'a\\xffb\\xf0\\x9f'; exit\r" })
    await shown(peer, /a\ufffdb\ufffd/)
    expect(await peer.closed).toEqual({ code: 1000, reason: '' })
  })

  it('loses nothing of 10 MB for who does not read, and holds no other up', async () => {
    const { host } = await chain()
    const slow = await seat(host)
    slow.pause(true)
    const size = 10 << 20
    slow.type(`head -c ${size} /dev/zero | tr '\\0' x; echo; echo al''l\r`)
    const quick = await seat(host)
    quick.type('echo mo""ves\r')
    await quick.sees(/moves\r\n/)
    const before = slow.bytes
    slow.pause(false)
    await slow.sees(/all\r\n/)
    expect(slow.bytes - before).toBeGreaterThan(size)
    slow.type('exit\r')
    expect((await slow.ended()).code).toBe(0)
  })

  it('ends what runs in it when the user goes, however that goes', async () => {
    const { host, runner } = await chain()
    const lives = await startTcp()
    const follow = async (user: Seat, command: string) => {
      const connected = lives.next()
      user.type(`${command}\r`)
      return { over: once(await connected, 'close') }
    }
    const leave: Record<string, (user: Seat) => Promise<void>> = {
      'by ~.': async (user) => user.type('\r~.'),
      'by SIGTERM': async (user) => void process.kill(await user.pid(), 'SIGTERM'),
      'by SIGKILL': async (user) => void process.kill(await user.pid(), 'SIGKILL'),
    }
    for (const [how, goes] of Object.entries(leave)) {
      const user = await seat(host)
      // Each has a connection that ends with it, however it ends.
      const live = `exec 9<>/dev/tcp/127.0.0.1/${lives.port}`
      const [back, front] = [
        await follow(user, `(${live}; exec sleep 1000) &`),
        await follow(user, `bash -c 'trap "" HUP; ${live}; exec sleep 1000'`),
      ]
      await goes(user)
      const ended = await user.ended()
      if (how !== 'by SIGKILL') expect(ended, how).toMatchObject({ same: true })
      if (how === 'by ~.') expect(ended.code).toBe(255)
      await Promise.all([back.over, front.over])
    }
    // Nothing stays open at the agent's, and its terminals can still be had.
    const user = await seat(host)
    user.type('exit\r')
    expect((await user.ended()).code).toBe(0)
    expect(runner.program.stderr).not.toContain('panicked')
  })

  it('gives the terminal back while it is suspended, and takes it again', async () => {
    const { host } = await chain()
    const user = await seat(host)
    user.type('\r~\u001a')
    expect(await user.stopped()).toBe(true)
    user.type("echo ag''ain\r")
    await user.sees(/again\r\n/)
    user.type('exit\r')
    expect(await user.ended()).toEqual({ code: 0, same: true })
  })

  it('ends, and says so, when the agent is lost', async () => {
    const { host, agent } = await chain()
    const user = await seat(host)
    agent.kill('SIGKILL')
    await user.sees(/the agent has gone/)
    expect(await user.ended()).toEqual({ code: 6, same: true })
  })

  it('takes a script on its standard input', async () => {
    const { host } = await chain()
    const [command, ...args] = connect(host)
    const script = start(command as string, args, { env, lines: false })
    let text = ''
    script.stdout.on('data', (piece) => {
      text += piece
    })
    script.stdin.end("echo sc''ript; stty size\n")
    expect(await script.exit).toMatchObject({ code: 0 })
    expect(text).toContain('script\r\n24 80\r\n')
  })
})

describe('terminals of a host and a runner', () => {
  it('speak to users of the original in its words', async () => {
    const { host } = await chain()
    const users = await Promise.all([original(host), original(host, { rows: 20, cols: 60 })])
    // None of these is a reason to end.
    users[0]?.socket.send('no JSON')
    users[0]?.socket.send(Buffer.from('binary'))
    users.forEach((peer, i) => {
      say(peer, { type: 'input', data: `PS1=; stty -echo; echo u''ser ${i}; stty size\r` })
    })
    await Promise.all(
      users.map((peer, i) =>
        shown(peer, [/user 0\r\n30 100\r\n/, /user 1\r\n20 60\r\n/][i] as RegExp),
      ),
    )
    const [first, second] = users as [Peer, Peer]
    say(first, { type: 'resize', rows: 11, cols: 22 })
    say(first, { type: 'input', data: 'stty size; cat\r' })
    await shown(first, /11 22\r\n/)
    say(first, { type: 'input', data: 'mirror\r' })
    await shown(first, /mirror\r\n/)
    // What is typed before a shell has seen the end of its job may be lost, as in any terminal.
    say(first, { type: 'input', data: '\u0003' })
    await shown(first, /\?2004h/)
    say(first, { type: 'input', data: 'exit 3\r' })
    // The code of the shell is for users of ours, who say that they know it.
    expect(await first.closed).toEqual({ code: 1000, reason: '' })
    say(second, { type: 'input', data: 'echo st""ill\r' })
    await shown(second, /still/)
    const ours = new WebSocket(`${host}/ws/task/5/terminal`, ['alknet-tunnel.1'])
    const closed = new Promise((resolve) =>
      ours.on('close', (code, reason) => resolve([code, `${reason}`])),
    )
    ours.on('open', () => {
      ours.send('{"type":"resize","rows":24,"cols":80}')
      ours.send(JSON.stringify({ type: 'input', data: 'exit 4\r' }))
    })
    expect(await closed).toEqual([1000, 'exit 4'])
  })

  it('wait for users of ours who have enough to show, and then go on', async () => {
    const { host } = await chain()
    const [peer, beside] = await Promise.all([original(host), original(host)])
    say(peer, { type: 'pause' })
    say(peer, {
      type: 'input',
      data: "PS1=; head -c 9000000 /dev/zero | tr '\\0' x; echo; echo a''ll\r",
    })
    for (let i = 0; i < 5; i += 1) {
      say(beside, { type: 'input', data: `echo be''side ${i}\r` })
      await shown(beside, new RegExp(`beside ${i}`))
    }
    expect(peer.texts.join('').length).toBeLessThan(100_000)
    say(peer, { type: 'resume' })
    let [length, tail] = [0, '']
    while (!tail.includes('x\r\nall\r\n')) {
      const { data } = JSON.parse(await peer.text()) as { data: string }
      length += data.length
      tail = (tail + data).slice(-100)
    }
    expect(length).toBeGreaterThan(9_000_000)
  })

  it('begin at 80 by 24 for who does not say', async () => {
    const { host } = await chain()
    const peer = await original(host, null)
    say(peer, { type: 'input', data: 'stty size\r' })
    await shown(peer, /24 80\r\n/)
  })

  it('say why there is none, in the words and codes of the original', async () => {
    const runner = await startRunner()
    await startOriginalAgent(url(runner.at), 'kohakuriver-task-9')
    const nodes = {
      n1: { url: url(runner.at) },
      off: { url: url(runner.at), status: 'offline' },
      dead: { url: 'ws://127.0.0.1:1' },
    }
    const tasks = {
      1: { status: 'completed', node: 'n1' },
      2: {},
      3: { node: 'nowhere' },
      4: { node: 'off' },
      5: { node: 'n1' },
      6: { node: 'dead' },
      8: { type: 'vm', address: '127.0.0.1' },
      9: { node: 'n1' },
    }
    const host = await hostOf({ nodes, tasks })
    const cases: [number, string | RegExp, number][] = [
      [7, 'Task 7 not found.', 1008],
      [1, 'Task is not running (status: completed)', 1008],
      [2, 'Task 2 has no assigned node.', 1011],
      [3, "Runner node 'nowhere' not found.", 1011],
      [4, "Runner node 'off' is not online (status: offline).", 1011],
      [5, 'Task 5 not found on this runner.', 1008],
      [6, /^Failed to connect to runner: /, 1011],
      [8, 'Task 8 is not a container task (type: vm).', 1008],
      [9, 'No suitable shell found.', 1011],
    ]
    for (const [id, data, code] of cases) {
      const peer = await dialHost(`${host}/ws/task/${id}/terminal`)
      const said = JSON.parse(await peer.text()) as object
      expect(said, `${id}`).toEqual({
        type: 'error',
        data: typeof data === 'string' ? data : expect.stringMatching(data),
      })
      expect((await peer.closed).code, `${id}`).toBe(code)
    }
    const odd = await dialHost(`${host}/ws/task/x/terminal`)
    expect((await odd.closed).code).toBe(1006)
  })

  it('run a command where the agent knows no terminals, and no shell where there is to be none', async () => {
    const command = `${process.execPath} -p process.argv.slice(1).join() -- {container} {id}`
    const runner = await startRunner('--terminal-command', command)
    await startOriginalAgent(url(runner.at), 'kohakuriver-task-5')
    const host = await hostOf(registry(url(runner.at)))
    const [word, ...args] = connect(host)
    const user = start(word as string, args, { env })
    expect((await user.line()).trimEnd()).toBe('kohakuriver-task-5,5')
    expect(await user.exit).toMatchObject({ code: 0 })

    const bare = await startRunner()
    for (const closed of [
      ['--shell', 'none'],
      ['--allow-port', '80'],
    ]) {
      const agent = await startAgent(bare.at, 'kohakuriver-task-5', ...closed)
      const peer = await dialHost(`${await hostOf(registry(url(bare.at)))}/ws/task/5/terminal`)
      expect(await peer.text()).toBe('{"type":"error","data":"No suitable shell found."}')
      agent.kill()
      await agent.exit
    }
  })

  it('run the command for no task but that of the container', async () => {
    const tokens = file({
      agents: { '*': 'agent-0123456789abcd' },
      users: {
        host: { token: 'host-0123456789abc' },
        ann: { token: 'ann-0123456789abcd', tasks: ['kohakuriver-task-5', 'mine'] },
      },
    })
    const command = `${process.execPath} -p process.argv[1] -- {id}`
    const runner = await startRunner('--tokens', tokens, '--terminal-command', command)
    for (const name of ['kohakuriver-task-5', 'mine']) {
      await startOriginalAgent(url(runner.at), `${name}?token=agent-0123456789abcd`)
    }
    const asked = async (id: number, container: string, token: string) => {
      const place = `${url(runner.at)}/ws/task/${id}/terminal?container=${container}`
      const peer = await dialHost(place, token)
      await once(peer.socket, 'open')
      say(peer, { type: 'resize', rows: 24, cols: 80 })
      await peer.closed
      return peer.texts.join('')
    }
    expect(await asked(6, 'kohakuriver-task-5', 'ann-0123456789abcd')).toContain('"5\\r\\n"')
    expect(await asked(6, 'mine', 'ann-0123456789abcd')).toContain('No suitable shell')
    // A host may say which task a container of another name is.
    expect(await asked(6, 'mine', 'host-0123456789abc')).toContain('"6\\r\\n"')
  })

  it('are found by a host that has a runner and no registry', async () => {
    const runner = await startRunner()
    await startAgent(runner.at, 'kohakuriver-vps-5')
    const host = await hostOf({}, '--runner', url(runner.at))
    const user = await seat(host)
    user.type('exit 3\r')
    expect((await user.ended()).code).toBe(3)
  })

  it('go through a runner of the original', async () => {
    const runner = await startOriginalRunner()
    const host = await hostOf(registry(runner.url))
    const user = sit(connect(host), { env, rows: 12, cols: 34 })
    await user.sees(/12 34 true/)
    user.type('ü')
    await user.sees(/got ü/)
    expect(await user.ended()).toEqual({ code: 0, same: true })
  })

  it('want the token of the task, and show none to what runs in them', async () => {
    const tokens = file({
      agents: { '*': 'agent-0123456789abcd' },
      users: {
        host: { token: 'host-0123456789abc', tasks: ['kohakuriver-task-5', '5'] },
        other: { token: 'other-0123456789ab', tasks: ['6'] },
      },
    })
    const runner = await startRunner('--tokens', tokens)
    const node = { url: url(runner.at), token: 'host-0123456789abc' }
    const host = await hostOf(
      { nodes: { n1: node }, tasks: { 5: { node: 'n1' } } },
      '--tokens',
      tokens,
    )
    const own = { ...env, ALKNET_TUNNEL_TOKEN: 'agent-0123456789abcd' }
    const words = ['tunnel', 'agent', '-r', url(runner.at), '-c', 'kohakuriver-task-5', '--json']
    const agent = start(program, words, { env: own })
    await agent.json()
    const wrong = sit(connect(host), { env: { ...env, ALKNET_TUNNEL_TOKEN: 'other-0123456789ab' } })
    expect((await wrong.ended()).code).toBe(4)
    const user = sit(connect(host), { env: { ...env, ALKNET_TUNNEL_TOKEN: 'host-0123456789abc' } })
    user.type("env | grep -c 0123456789; echo do''ne\r")
    await user.sees(/\b0\r\ndone/)
    user.type('exit\r')
    expect((await user.ended()).code).toBe(0)
  })
})
