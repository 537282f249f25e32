import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { get } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { connect as tlsConnect, createServer as tlsServer } from 'node:tls'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { type AlknetServer, connect } from '../index.js'
import { discard, nextConnection, reach, rejection, startServer } from './support/alknet.js'
import { say } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { serveAlknet } from './support/cli.js'
import { scratch } from './support/keys.js'
import { describeWith, peerPath } from './support/peers.js'
import { certificate } from './support/transports.js'

// One TLS port with SSH, a WebSocket and nothing to be seen.

const run = promisify(execFile)

async function startBoth(options?: object): Promise<AlknetServer> {
  const own = await certificate()
  const server = await startServer({ transport: ['tls', 'wss'], stealth: true, ...own, ...options })
  expect(server.addresses).toHaveLength(1)
  return server
}

const portOf = (server: AlknetServer) => Number(server.addresses[0]?.split(':').at(-1))

/** What the server answers to a request, but for the time of day. */
async function answer(server: AlknetServer, path: string, headers = {}, method = 'GET') {
  const to = { port: portOf(server), host: '127.0.0.1', path, headers, method }
  const asked = get({ ...to, rejectUnauthorized: false, agent: false })
  asked.end()
  const [response] = await once(asked, 'response')
  let body = ''
  for await (const piece of response) body += piece
  const { date, ...others } = response.headers
  expect(Date.parse(date)).not.toBeNaN()
  return { status: response.statusCode, headers: others, body }
}

describe('tls and wss on one port', () => {
  it.each(['tls', 'wss'] as const)(
    'lets %s in, by which its streams are told apart',
    async (transport) => {
      const server = await startBoth({ stealth: false })
      const accepted = nextConnection(server)
      const to = { ...(await reach(server)), transport, tlsCa: (await certificate()).tlsCert }
      const client = discard(await connect(to))
      const { stream } = await accepted
      await say(client, stream, 'one port')
      expect([client.info.transport, stream.info.transport]).toEqual([transport, transport])
    },
  )

  it('is served by the command line too', async () => {
    const { tlsCert, tlsKey } = await certificate()
    const tls = ['--tls-cert', tlsCert, '--tls-key', tlsKey, '--transport', 'tls,wss']
    const served = await serveAlknet([...tls, '--allow-remote-forward'])
    for (const scheme of ['tls', 'wss']) {
      const to = { server: `${scheme}://${served.server}`, hostKeys: served.hostKey.fingerprint }
      const { identity } = await reach(await startServer())
      const client = connect({
        ...to,
        identity: identity ?? '',
        tlsCa: tlsCert,
        target: '127.0.0.1:1',
      })
      // It has logged in: that nobody listens there is what the server says.
      await expect(client).rejects.toMatchObject({ code: 'ECONNREFUSED', phase: 'channel' })
    }
  })

  it('lets a first line through wherever it is cut', async () => {
    const server = await startBoth()
    const line = 'SSH-2.0-x\r\n'
    for (let cut = 1; cut < line.length; cut++) {
      const to = { port: portOf(server), host: '127.0.0.1', rejectUnauthorized: false }
      const socket = tlsConnect(to).setNoDelay()
      afterwards(() => void socket.destroy())
      await once(socket, 'secureConnect')
      await new Promise((resolve) => socket.write(line.slice(0, cut), resolve))
      socket.write(line.slice(cut))
      const [heard] = await once(socket, 'data')
      expect(String(heard), `cut at ${cut}`).toMatch(/^SSH-2\.0-alknet_/)
      socket.destroy()
    }
  })

  it('answers at the path of the WebSocket as at any other to who may not open it', async () => {
    const server = await startBoth({ wsHosts: ['tunnel.example.com'] })
    const nowhere = await answer(server, '/any')
    expect(nowhere).toMatchObject({ status: 404, headers: { server: 'nginx' } })
    const upgrade = {
      ...{ Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13' },
      'Sec-WebSocket-Key': 'MDEyMzQ1Njc4OWFiY2RlZg==',
    }
    for (const headers of [{}, upgrade, { ...upgrade, Origin: 'https://evil.example' }]) {
      const other = await answer(server, '/any', headers)
      expect(await answer(server, '/alknet', headers)).toEqual(other)
    }
    expect(await answer(server, '/alknet', {}, 'POST')).toEqual(
      await answer(server, '/x', {}, 'POST'),
    )
  })
})

describeWith('openssl', 'openssl s_client, from outside', () => {
  const ask = async (server: AlknetServer, said: string, ...args: string[]) => {
    const to = ['-connect', `${server.addresses[0]}`, '-ign_eof', ...args]
    const asked = run(peerPath('openssl'), ['s_client', ...to])
    asked.child.stdin?.end(said)
    const { stdout, stderr } = await asked.catch((error) => error)
    return `${stdout}${stderr}`
  }

  it('meets a web server of TLS 1.3 that speaks HTTP/1.1', async () => {
    const server = await startBoth()
    const request = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
    const said = await ask(server, request, '-alpn', 'h2,http/1.1')
    expect(said).toMatch(/ALPN protocol: http\/1\.1/)
    expect(said).toMatch(/TLSv1\.3/)
    expect(said).toMatch(/HTTP\/1\.1 404 Not Found\r?\n/)
    expect(said).not.toMatch(/ssh|alknet/i)
    expect(await ask(server, request, '-tls1_2')).toMatch(/alert protocol version/)
  })

  it('may speak TLS 1.2 where that is wanted, as may our client', async () => {
    const { tlsCert, tlsKey } = await certificate()
    const server = await startBoth({ tlsMin: '1.2' })
    const request = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
    expect(await ask(server, request, '-tls1_2')).toMatch(/Protocol\s*: TLSv1\.2|TLSv1\.2/)
    const old = tlsServer({
      cert: readFileSync(tlsCert),
      key: readFileSync(tlsKey),
      maxVersion: 'TLSv1.2',
    })
    const heard = once(old, 'secureConnection')
    await once(old.listen(0, '127.0.0.1'), 'listening')
    afterwards(() => old.close())
    const { port } = old.address() as AddressInfo
    const to = { ...(await reach(server)), server: `tls://127.0.0.1:${port}`, tlsCa: tlsCert }
    const stop = new AbortController()
    expect(await rejection(connect(to))).toMatchObject({
      code: 'ERR_ALKNET_TLS',
      hint: expect.stringContaining('tlsMin'),
    })
    const connecting = rejection(connect({ ...to, tlsMin: '1.2', signal: stop.signal }))
    const [socket] = await heard
    expect(socket.getProtocol()).toBe('TLSv1.2')
    stop.abort()
    await connecting
  })
})

describeWith('nmap', 'nmap, from outside', () => {
  it('takes it for a web server, whatever it probes', async () => {
    const server = await startBoth()
    // Its own probes, but for how long it waits where no web server says anything: before a request, and after two empty lines.
    const own = readFileSync('/usr/share/nmap/nmap-service-probes', 'latin1')
    const quick = own
      .replace('totalwaitms 6000', 'totalwaitms 300')
      .replace(/^Probe TCP GenericLines .*$/m, '$&\ntotalwaitms 300')
    const probes = join(scratch(), 'probes')
    writeFileSync(probes, quick, 'latin1')
    const { stdout } = await run(
      peerPath('nmap'),
      [
        ...['-sV', '-Pn', '-n', '-p', `${portOf(server)}`],
        '--versiondb',
        probes,
        '-oX',
        '-',
        '127.0.0.1',
      ],
      { timeout: 120_000 },
    )
    expect(stdout).toMatch(/<service name="https?" product="nginx" tunnel="ssl"/)
    expect(stdout).not.toMatch(/product="(alknet|OpenSSH)|SSH-2|name="ssh"/)
  }, 120_000)
})
