import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { createRequire } from 'node:module'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import {
  type Browser,
  type BrowserContextOptions,
  chromium,
  type Locator,
  type Page,
} from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { env, file, startAgent, startHost, startRunner } from './support/chain.js'
import { afterwards } from './support/cleanup.js'
import { scratch } from './support/keys.js'
import { describeWith, peerPath } from './support/peers.js'
import { root } from './support/registry.js'
import { certificate } from './support/transports.js'
import { dialHost, type, user } from './support/tunnel.js'

// Shells of the tests read nothing of whoever runs them.
env.HOME = scratch()

/** A host whose registry has a task with an agent, one without, and one that is over. */
async function startSite(...args: string[]) {
  const runner = await startRunner()
  const agent = await startAgent(runner.at)
  const registry = {
    nodes: { n1: { url: `ws://${runner.at}` } },
    tasks: {
      5: { node: 'n1' },
      6: { node: 'n1', type: 'vps' },
      7: { node: 'n1', status: 'completed' },
    },
  }
  const { at } = await startHost(registry, ...args)
  return { url: `http://${at}`, runner, agent }
}

const tokens = () => [
  '--tokens',
  file({
    users: {
      ann: { token: 'ann-0123456789abcd', tasks: ['5'] },
      all: { token: 'all-0123456789abcd' },
    },
  }),
]

const get = (url: string, headers: Record<string, string> = {}) => fetch(url, { headers })
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

interface Task {
  task_id: string
  agent: boolean | null
  sessions: number
  bytes_up: number
  bytes_down: number
}

async function list(url: string, headers = {}): Promise<Task[]> {
  const answer = await get(`${url}/api/tasks`, headers)
  expect(answer.headers.get('cache-control')).toBe('no-store')
  return ((await answer.json()) as { tasks: Task[] }).tasks
}

/** The status that a request under another name gets; `fetch` would not let that be said. */
function called(url: string, host: string, more = {}): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { headers: { host, ...more } }, (answer) => {
      answer.resume()
      resolve(answer.statusCode)
    })
    asked.on('upgrade', (answer, socket) => {
      socket.destroy()
      resolve(answer.statusCode)
    })
    asked.on('error', reject).end()
  })
}

describe("what a tunnel's host lists", () => {
  it('has the state of each task and what went to it', async () => {
    const { url } = await startSite()
    const none = { sessions: 0, sessions_total: 0, bytes_up: 0, bytes_down: 0 }
    expect(await list(url)).toEqual([
      {
        ...{ task_id: '5', task_type: 'command', status: 'running', agent: true, terminal: true },
        ...{ assigned_node: 'n1', ssh_port: null, ...none },
      },
      expect.objectContaining({ task_id: '6', task_type: 'vps', agent: false, terminal: false }),
      expect.objectContaining({ task_id: '7', status: 'completed', agent: null, terminal: false }),
    ])
    const peer = await user(`${url.replace('http', 'ws')}/ws/forward/5/1`)
    peer.send({ type: type.connect, id: 1, port: 1 })
    await peer.message((message) => message.type === type.error)
    peer.send({ type: type.data, id: 1, payload: Buffer.alloc(1000) })
    const counted = { ...none, sessions: 1, sessions_total: 1, bytes_up: 1000 }
    await expect.poll(() => list(url).then(([first]) => first)).toMatchObject(counted)
    peer.socket.close()
    await expect.poll(() => list(url).then(([first]) => first?.sessions)).toBe(0)
  })

  it('is for who has a token, where there are any, and has nothing of others', async () => {
    const { url } = await startSite(...tokens())
    for (const headers of [{}, bearer('nobody-0123456789')]) {
      const answer = await get(`${url}/api/tasks`, headers)
      expect([answer.status, answer.headers.get('www-authenticate')]).toEqual([401, 'Bearer'])
    }
    const of = async (token: string) => (await list(url, bearer(token))).map((it) => it.task_id)
    expect(await of('ann-0123456789abcd')).toEqual(['5'])
    expect(await of('all-0123456789abcd')).toEqual(['5', '6', '7'])
    const posted = await fetch(`${url}/api/tasks`, { method: 'POST' })
    expect([posted.status, posted.headers.get('allow')]).toEqual([405, 'GET, HEAD'])
  })

  it('warns of a wrong token, and not of a page that has none yet', async () => {
    const { program, at } = await startHost({}, ...tokens())
    expect((await get(`http://${at}/api/tasks`)).status).toBe(401)
    expect((await get(`http://${at}/api/tasks`, bearer('nobody-0123456789'))).status).toBe(401)
    program.kill('SIGTERM')
    const { stderr } = await program.exit
    expect(stderr.match(/WARN.*/g)).toEqual([expect.stringContaining('a list with a wrong token')])
  })

  it('has tasks that no registry knows, whose agents are there', async () => {
    const runner = await startRunner()
    await startAgent(runner.at, 'kohakuriver-vps-12')
    const { at } = await startHost({}, '--runner', `ws://${runner.at}`)
    const row = { task_id: '12', task_type: 'vps', status: 'running', assigned_node: runner.at }
    expect(await list(`http://${at}`)).toEqual([expect.objectContaining({ ...row, agent: true })])
    const status = await get(`http://${at}/api/status/12`)
    expect(await status.json()).toEqual({ ...row, ssh_port: null })
    expect((await get(`http://${at}/api/status/13`)).status).toBe(404)
  })
})

describe("the page's files", () => {
  it('are those of xterm.js as published, and ours, with nothing from elsewhere', async () => {
    const { url } = await startSite()
    const require = createRequire(import.meta.url)
    const folder = path.join(root, 'src/server/tunnel/page')
    for (const [name, published] of [
      ['xterm.js', '@xterm/xterm/lib/xterm.mjs'],
      ['xterm.css', '@xterm/xterm/css/xterm.css'],
      ['fit.js', '@xterm/addon-fit/lib/addon-fit.mjs'],
    ] as const) {
      const kept = gunzipSync(readFileSync(path.join(folder, `${name}.gz`)))
      expect(kept.equals(readFileSync(require.resolve(published))), name).toBe(true)
      expect(await (await get(`${url}/ui/${name}`)).text()).toBe(kept.toString())
      expect((await get(`${url}/ui/${name}`, { 'accept-encoding': 'br' })).status).toBe(406)
    }
    const licenses = await (await get(`${url}/ui/licenses.txt`)).text()
    for (const name of ['xterm', 'addon-fit']) {
      const { version } = require(`@xterm/${name}/package.json`)
      const text = readFileSync(require.resolve(`@xterm/${name}/LICENSE`), 'utf8').trim()
      expect(licenses).toContain(`@xterm/${name} ${version}: MIT\n\n${text}`)
    }
    const html = await (await get(url)).text()
    expect(html).not.toMatch(/<script(?![^>]*\bsrc="\/ui\/)|<style|\sstyle=|\son\w+=|https?:/)
  })

  it('are kept by browsers as long as they are the same, and never believed to be anything else', async () => {
    const { url } = await startSite()
    for (const name of ['/', '/ui/app.js', '/ui/xterm.js']) {
      const { status, headers } = await get(url + name)
      expect(status).toBe(200)
      expect(headers.get('cache-control')).toBe('no-cache')
      expect(headers.get('x-content-type-options')).toBe('nosniff')
      expect(headers.get('content-security-policy')).toContain("script-src 'self';")
      const tag = headers.get('etag') as string
      const again = await get(url + name, { 'if-none-match': `"other", ${tag}` })
      expect([again.status, await again.text()]).toEqual([304, ''])
    }
    expect((await get(`${url}/ui/nothing`)).status).toBe(404)
    expect((await fetch(url, { method: 'POST' })).status).toBe(405)
    const head = await fetch(url, { method: 'HEAD' })
    expect([head.status, await head.text()]).toEqual([200, ''])
  })

  it('are not for a page elsewhere that has its own name lead here', async () => {
    const { url, runner } = await startSite()
    const port = new URL(url).port
    const upgrade = {
      connection: 'upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'MDEyMzQ1Njc4OWFiY2RlZg==',
    }
    const terminal = `${url}/ws/task/5/terminal`
    for (const host of ['rebound.example', `rebound.example:${port}`]) {
      for (const at of [url, `${url}/api/tasks`, `${url}/api/status/5`]) {
        expect(await called(at, host)).toBe(403)
      }
      const origin = { origin: `http://${host}` }
      expect(await called(terminal, host, { ...upgrade, ...origin })).toBe(403)
      expect(await called(`http://${runner.at}/api/agents`, host)).toBe(403)
    }
    const own = `localhost:${port}`
    expect(await called(url, own)).toBe(200)
    expect(await called(terminal, own, { ...upgrade, origin: `http://${own}` })).toBe(101)
    expect(await called(terminal, own, { ...upgrade, origin: 'http://evil.example' })).toBe(403)
    // With tokens it may be called anything: who is led here has none.
    const guarded = await startSite(...tokens())
    expect(await called(guarded.url, 'entry.example')).toBe(200)
  })

  it('tell a terminal by a sub-protocol whose it is', async () => {
    const { url } = await startSite(...tokens())
    const ws = `${url.replace('http', 'ws')}/ws/task/5/terminal`
    const offered = (token: string) => [
      'alknet-tunnel.1',
      `alknet-token.${Buffer.from(token).toString('base64url')}`,
    ]
    const wrong = await dialHost(ws, undefined, offered('nobody-0123456789'))
    expect((await wrong.closed).code).toBe(1006)
    const peer = await dialHost(ws, undefined, offered('all-0123456789abcd'))
    await once(peer.socket, 'open')
    peer.socket.send('{"type":"resize","rows":24,"cols":80}')
    expect(await peer.text()).toBe('{"type":"output","data":""}')
    expect(peer.socket.protocol).toBe('alknet-tunnel.1')
  })
})

describeWith('chromium', "the page of a tunnel's host", () => {
  let browser: Browser

  beforeAll(async () => {
    const args = ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu']
    browser = await chromium.launch({ executablePath: peerPath('chromium'), args })
  })

  afterAll(() => browser?.close())

  /** The page, which asks nobody else for anything and has nothing to complain of. */
  async function visit(
    url: string,
    options: BrowserContextOptions = {},
    expected = /401 \(Unauthorized\)/,
  ): Promise<Page> {
    const page = await browser.newPage(options)
    const complaints: string[] = []
    page.on('console', (message) => {
      const bad = ['error', 'warning'].includes(message.type())
      if (bad && !expected.test(message.text())) complaints.push(message.text())
    })
    page.on('pageerror', (error) => complaints.push(String(error)))
    page.on('request', (request) => {
      const { host } = new URL(request.url())
      if (host && host !== new URL(url).host) complaints.push(request.url())
    })
    afterwards(async () => {
      await page.close()
      expect(complaints).toEqual([])
    })
    await page.goto(url)
    return page
  }

  const status = (page: Page, text: string | RegExp) =>
    page.getByRole('status').filter({ hasText: text }).waitFor()

  const button = (page: Page, id: number) =>
    page.getByRole('button', { name: `Terminal of task ${id}` })

  /** What has the focus: its id, else its name. */
  const focused = (page: Page) =>
    page.evaluate<string>(
      '(({ id, ariaLabel, textContent }) => id || ariaLabel || textContent)(document.activeElement)',
    )

  async function bottom(of: Locator): Promise<number> {
    const box = await of.boundingBox()
    return (box?.y ?? Number.NaN) + (box?.height ?? Number.NaN)
  }

  async function say(page: Page, line: string) {
    await page.keyboard.type(line)
    await page.keyboard.press('Enter')
  }

  /** The shell of task 5, by keys alone, which shows nothing but what it is asked for. */
  async function sit(page: Page) {
    await button(page, 5).focus()
    await page.keyboard.press('Enter')
    await status(page, 'Connected.')
    const screen = page.locator('.xterm-rows')
    await say(page, "PS1=; stty -echo; bind 'set enable-bracketed-paste off'; clear; echo re''ady")
    await screen.filter({ hasText: /^\s*ready/ }).waitFor()
    return screen
  }

  it('shows tasks as they come and go, with what went to them', async () => {
    const { url, agent, runner } = await startSite()
    const page = await visit(url)
    await status(page, '3 tasks')
    const rows = async () => {
      const texts = await page.getByRole('row').allInnerTexts()
      return texts.map((text) => text.replace(/\s+/g, ' ').trim())
    }
    expect(await rows()).toEqual([
      'Task State Node Sessions To it From it Terminal',
      '5 command running n1 0 of 0 0 B 0 B Terminal',
      '6 vps no agent n1 0 of 0 0 B 0 B Terminal',
      '7 command completed n1 0 of 0 0 B 0 B Terminal',
    ])
    expect(await button(page, 6).getAttribute('aria-disabled')).toBe('true')
    await startAgent(runner.at, 'kohakuriver-vps-6')
    const row = (text: string) => page.getByRole('row').filter({ hasText: text }).waitFor()
    await row('6 vpsrunning')
    await button(page, 5).focus()
    agent.kill('SIGTERM')
    await row('5 commandno agent')
    // Who was there is there still.
    expect(await focused(page)).toBe('Terminal of task 5')
    await page.keyboard.press('Enter')
    expect(await page.getByRole('dialog').isVisible()).toBe(false)
    await startAgent(runner.at)
    await row('5 commandrunning')
  })

  it('opens a terminal and leaves it, by keys alone', async () => {
    const { url } = await startSite()
    const page = await visit(url)
    await status(page, '3 tasks')
    await page.keyboard.press('Tab')
    expect(await focused(page)).toBe('Skip to the tasks')
    await page.keyboard.press('Enter')
    expect(await focused(page)).toBe('tasks')
    await page.keyboard.press('Tab')
    expect(await focused(page)).toBe('Terminal of task 5')
    const screen = await sit(page)
    // Keys that leave any other place are the shell's: Tab completes, Escape is a key.
    await say(page, 'cat -v')
    await page.keyboard.press('Escape')
    await page.keyboard.press('Tab')
    await page.keyboard.press('ArrowUp')
    await page.keyboard.press('Enter')
    await screen.filter({ hasText: /\^\[ {2,}\^\[(\[|O)A/ }).waitFor()
    await page.keyboard.press('Control+c')
    await page.keyboard.press('Control+Shift+L')
    expect(await focused(page)).toBe('close')
    await page.keyboard.press('Enter')
    expect(await focused(page)).toBe('Terminal of task 5')
    await page
      .getByRole('row')
      .filter({ hasText: /5 command.*0 of 1/ })
      .waitFor()
    expect((await list(url))[0]).toMatchObject({
      bytes_up: expect.any(Number),
      sessions_total: 1,
    })
  })

  it('shows signs whole, colours, and the size that there is', async () => {
    const { url } = await startSite()
    const page = await visit(url)
    const screen = await sit(page)
    const bytes = [...Buffer.from('😀ü')].map((byte) => `\\x${byte.toString(16)}`)
    const cut = bytes.map((byte) => `printf '${byte}'; sleep 0.01`).join('; ')
    await say(page, `${cut}; printf '\\e[38;2;200;10;10m!\\n'`)
    await screen.filter({ hasText: '😀ü!' }).waitFor()
    const red = screen.locator('span').filter({ hasText: '!' }).last()
    expect(await red.getAttribute('style')).toMatch(/color: rgb\(200,/)
    await say(page, "trap 'echo size $(stty size)' WINCH; echo tr''apped")
    await screen.filter({ hasText: 'trapped' }).waitFor()
    await page.setViewportSize({ width: 500, height: 400 })
    const found = await screen.filter({ hasText: /size \d+ \d+/ }).innerText()
    const [, rows, columns] = /size (\d+) (\d+)/.exec(found) ?? []
    expect(Number(columns)).toBeGreaterThan(30)
    expect(Number(columns)).toBeLessThan(70)
    expect(Number(rows)).toBeLessThan(24)
    const [inner, outer] = await Promise.all([screen, page.locator('#screen')].map(bottom))
    expect(inner).toBeLessThanOrEqual(outer as number)
  })

  it('has a shell wait that says more than can be shown, and loses nothing of it', async () => {
    const { url } = await startSite()
    const page = await visit(url)
    const sent: string[] = []
    page.on('websocket', (socket) =>
      socket.on('framesent', ({ payload }) => void sent.push(`${payload}`)),
    )
    const screen = await sit(page)
    // A page that keeps up asks nobody to wait.
    const tools = await page.context().newCDPSession(page)
    await tools.send('Emulation.setCPUThrottlingRate', { rate: 10 })
    await say(page, "head -c 2000000 /dev/zero | tr '\\0' x; clear; echo al''l")
    await screen.filter({ hasText: /^\s*all/ }).waitFor()
    const paces = sent.filter((text) => /"(pause|resume)"/.test(text))
    expect(paces.slice(0, 2)).toEqual(['{"type":"pause"}', '{"type":"resume"}'])
  })

  it('says how a shell ended, and why there is none', async () => {
    const { url, agent, runner } = await startSite()
    const page = await visit(url)
    await sit(page)
    await say(page, 'exit 3')
    await status(page, 'The shell has ended with 3.')
    expect(await focused(page)).toBe('close')
    await page.keyboard.press('Escape')
    await sit(page)
    agent.kill()
    await status(page, 'the agent has gone')
    await page.keyboard.press('Enter')
    await startAgent(runner.at, 'kohakuriver-task-5', '--shell', 'none')
    await page.getByRole('row').filter({ hasText: '5 commandrunning' }).waitFor()
    await button(page, 5).click()
    await status(page, 'No suitable shell found.')
  })

  it('shows what a runner says that is no message, and goes on', async () => {
    const { url } = await startSite()
    const page = await visit(url)
    await page.routeWebSocket(/terminal$/, (socket) => {
      for (const text of ['null', '"text "', '5 ', '{"type":"output"}', '{"type":"new"}']) {
        socket.send(text)
      }
      socket.send(Buffer.from('bytes'))
      socket.send('{"type":"output","data":" on"}')
    })
    await button(page, 5).click()
    await page.locator('.xterm-rows').filter({ hasText: 'null"text "5 undefined on' }).waitFor()
  })

  it('opens a terminal in the moment in which another is closed', async () => {
    const { url } = await startSite()
    const page = await visit(url)
    await sit(page)
    await page.evaluate(
      `document.getElementById('close').click()
       document.querySelector('[aria-label="Terminal of task 5"]').click()`,
    )
    await status(page, 'Connected.')
  })

  it('is a tree that a screen reader can read, terminal included', async () => {
    const { url } = await startSite()
    const page = await visit(url)
    await status(page, '3 tasks')
    const tree = await page.locator('body').ariaSnapshot()
    for (const part of [
      '- link "Skip to the tasks"',
      '- heading "alknet tunnel" [level=1]',
      '- status: 3 tasks',
      '- region "Tasks"',
      '- heading "Tasks" [level=2]',
      '- table "Tasks"',
      '- columnheader "Sessions"',
      '- rowheader "5 command"',
      '- cell "running"',
      '- button "Terminal of task 5"',
      '- button "Terminal of task 6" [disabled]',
    ]) {
      expect(tree).toContain(part)
    }
    await sit(page)
    const dialog = page.getByRole('dialog', { name: 'Terminal of task 5' })
    await dialog.getByRole('checkbox', { name: 'Screen reader' }).check()
    await dialog.getByRole('textbox', { name: 'Terminal input' }).focus()
    await say(page, "echo re''ad out")
    await dialog
      .getByRole('listitem')
      .filter({ hasText: /^read out/ })
      .waitFor()
  })

  it('is a table still where it is shown as cards, and never wider than the window', async () => {
    const { url } = await startSite()
    const page = await visit(url, { viewport: { width: 320, height: 640 } })
    await status(page, '3 tasks')
    const wide = () => page.evaluate('document.documentElement.scrollWidth')
    expect(await wide()).toBe(320)
    // The tree that the browser gives to a screen reader, not what the elements would be without their style.
    const session = await page.context().newCDPSession(page)
    const { nodes } = await session.send('Accessibility.getFullAXTree')
    const count = (role: string) =>
      nodes.filter((node) => !node.ignored && node.role?.value === role).length
    expect(['table', 'row', 'columnheader', 'rowheader', 'cell'].map(count)).toEqual([
      1, 4, 7, 3, 18,
    ])
    await sit(page)
    expect(await wide()).toBe(320)
  })

  it('wants a token where there are any, and keeps it in the tab', async () => {
    const { url } = await startSite(...tokens())
    const page = await visit(url)
    const asked: string[] = []
    page.on('request', (request) => asked.push(request.url()))
    page.on('websocket', (socket) => asked.push(socket.url()))
    const field = page.getByLabel('Token')
    await field.waitFor()
    expect(await focused(page)).toBe('token')
    await field.fill('no token at all: €')
    await page.keyboard.press('Enter')
    await status(page, 'This token was not accepted.')
    await field.fill('nobody-0123456789')
    await page.getByRole('button', { name: 'Show my tasks' }).click()
    await status(page, 'This token was not accepted.')
    await field.fill('ann-0123456789abcd')
    await page.keyboard.press('Enter')
    await status(page, '1 task')
    await sit(page)
    await say(page, 'exit')
    await status(page, 'The shell has ended')
    expect(asked.join()).toContain('/ws/task/5/terminal')
    expect(asked.join()).not.toContain('0123456789')
    expect(await page.context().cookies()).toEqual([])
    await page.reload()
    await status(page, '1 task')
    const other = await visit(url)
    await other.getByLabel('Token').waitFor()
    await page.getByRole('button', { name: 'Forget the token' }).click()
    await field.waitFor()
    await page.reload()
    await field.waitFor()
  })

  it('is the same over TLS', async () => {
    const { tlsCert, tlsKey } = await certificate()
    const { url } = await startSite('--tls-cert', tlsCert, '--tls-key', tlsKey)
    const page = await visit(url.replace('http:', 'https:'), { ignoreHTTPSErrors: true })
    await sit(page)
    await say(page, 'exit')
    await status(page, 'The shell has ended')
  })

  it('says that the host has gone, and goes on when it is back', async () => {
    const { url } = await startSite()
    const page = await visit(url, {}, /ERR_INTERNET_DISCONNECTED/)
    await status(page, '3 tasks')
    await page.context().setOffline(true)
    await status(page, 'The host does not answer. Trying again.')
    await page.context().setOffline(false)
    await status(page, '3 tasks')
  })
})
