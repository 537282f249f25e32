import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, expect, it } from 'vitest'
import { hear } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { connectAlknet, serveAlknet } from './support/cli.js'
import { scratch } from './support/keys.js'
import { freePort, startEcho } from './support/net.js'
import { describeWith, peerPath } from './support/peers.js'
import { start } from './support/program.js'

const run = promisify(execFile)

/** The port of a proxy in front of a server, both programs of their own, and that of a web server. */
let proxy: number
let web: number

beforeAll(async () => {
  const served = await serveAlknet()
  proxy = (await connectAlknet(served, ['-D', '127.0.0.1:0'])).ports[0] as number
  const pages = createServer((request, response) => response.end(`page ${request.url}\n`))
  await once(pages.listen(0, '127.0.0.1'), 'listening')
  afterwards(() => pages.close().closeAllConnections())
  web = (pages.address() as AddressInfo).port
})

describeWith('curl', 'curl through alknet connect -D', () => {
  it.each([
    ['socks5h', 'localhost'],
    ['socks5h', '127.0.0.1'],
    ['socks5', '127.0.0.1'],
    ['http', 'localhost'],
  ])('gets 100 pages, 20 at a time, by %s from %s', async (scheme, host) => {
    const via = ['--proxy', `${scheme}://127.0.0.1:${proxy}`, '--proxytunnel', '--noproxy', '']
    const many = ['-Z', '--parallel-max', '20', '-sS', '--fail', '-m', '30']
    const { stdout } = await run(peerPath('curl'), [
      ...many,
      ...via,
      `http://${host}:${web}/[1-100]`,
    ])
    expect(new Set(stdout.trim().split('\n')).size).toBe(100)
  })

  it.each<[string, RegExp, number]>([
    ['socks5h', /SOCKS5.*\(5\)/, 97],
    ['http', /502/, 56],
  ])('is told by %s that a target refuses', async (scheme, said, code) => {
    const via = ['--proxy', `${scheme}://127.0.0.1:${proxy}`, '--proxytunnel', '--noproxy', '']
    const url = `http://127.0.0.1:${await freePort()}/`
    const failed = await run(peerPath('curl'), ['-sS', '-m', '30', ...via, url]).catch((e) => e)
    expect(failed).toMatchObject({ code, stderr: expect.stringMatching(said) })
  })
})

describeWith('socat', 'socat through alknet connect -D', () => {
  // Its SOCKS4a is not spoken here, and SOCKS5 came with 1.8: the proxy's other tongue serves every version.
  it('reaches a target by HTTP CONNECT and ends both ways', async () => {
    const echo = await startEcho()
    const to = `PROXY:127.0.0.1:127.0.0.1:${echo.port},proxyport=${proxy}`
    const program = start(peerPath('socat'), ['-', to], { lines: false })
    program.stdin.write('through socat')
    expect(await hear(program.stdout, 13)).toBe('through socat')
    program.stdin.end()
    expect(await program.exit).toMatchObject({ code: 0, stderr: '' })
  })
})

describeWith('proxychains4', 'proxychains through alknet connect -D', () => {
  it.each(['socks5', 'http'])(
    'lets a program that knows no proxy get its page: %s',
    async (kind) => {
      const config = join(scratch(), `proxychains.${kind}`)
      const lines = ['strict_chain', 'quiet_mode', 'proxy_dns', '[ProxyList]']
      writeFileSync(config, [...lines, `${kind} 127.0.0.1 ${proxy}`, ''].join('\n'))
      for (const host of ['127.0.0.1', 'localhost']) {
        const words = [
          '-q',
          '-f',
          config,
          'curl',
          '-sS',
          '-m',
          '30',
          `http://${host}:${web}/chained`,
        ]
        const { stdout } = await run(peerPath('proxychains4'), words)
        expect(stdout).toBe('page /chained\n')
      }
    },
  )
})
