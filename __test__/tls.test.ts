import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import { connect as tlsConnect } from 'node:tls'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { type AlknetServer, connect } from '../index.js'
import { discard, nextConnection, reach, rejection, startServer } from './support/alknet.js'
import { say } from './support/bytes.js'
import { afterwards } from './support/cleanup.js'
import { scratch, strangerKey } from './support/keys.js'
import { freePort, startTcp } from './support/net.js'
import { describeWith, peerPath } from './support/peers.js'
import { start } from './support/program.js'
import { certificate, makeCertificate } from './support/transports.js'

const run = promisify(execFile)

async function startTls(options?: object): Promise<AlknetServer> {
  return startServer({ transport: 'tls', ...(await certificate()), ...options })
}

/** A TLS client of Node's that says `parts`, each in a write of its own, and hears until the server ends. */
async function talk(server: AlknetServer, parts: readonly string[]): Promise<string> {
  const port = Number(server.addresses[0]?.split(':').at(-1))
  const socket = tlsConnect({ port, host: '127.0.0.1', rejectUnauthorized: false })
  afterwards(() => void socket.destroy())
  await once(socket, 'secureConnect')
  let heard = ''
  socket.on('data', (data: Buffer) => {
    heard += data.toString('latin1')
    if (heard.startsWith('SSH-') && heard.includes('\n')) socket.end()
  })
  const ended = once(socket, 'close')
  for (const part of parts) await new Promise((resolve) => socket.write(part, resolve))
  await ended
  return heard
}

describe('a server certificate', () => {
  it('that nobody vouches for is refused with what helps', async () => {
    const server = await startTls()
    const error = await rejection(connect({ ...(await reach(server)), transport: 'tls' }))
    expect(error).toMatchObject({ code: 'ERR_ALKNET_TLS', phase: 'tls' })
    expect(error).toMatchObject({ hint: expect.stringContaining('tlsCa') })
  })

  it('for another name is refused, unless that name is expected', async () => {
    const other = await makeCertificate('other', 'DNS:other.example')
    const server = await startTls(other)
    const to = { ...(await reach(server)), transport: 'tls', tlsCa: other.tlsCert } as const
    const error = await rejection(connect(to))
    expect(error).toMatchObject({ code: 'ERR_ALKNET_TLS' })
    expect(error).toMatchObject({ hint: expect.stringContaining('tlsServerName') })
    discard(await connect({ ...to, tlsServerName: 'other.example' }))
  })

  it('is not looked at with insecure, but the host key is', async () => {
    const server = await startTls()
    const to = { ...(await reach(server)), transport: 'tls', insecure: true } as const
    discard(await connect(to))
    const error = await rejection(connect({ ...to, hostKeys: (await strangerKey()).fingerprint }))
    expect(error).toMatchObject({ code: 'ERR_ALKNET_HOST_KEY_CHANGED' })
  })

  it('is another after reload() when its files have changed', async () => {
    const [first, second] = [await makeCertificate('first'), await makeCertificate('second')]
    const [tlsCert, tlsKey] = [join(scratch(), 'live.crt'), join(scratch(), 'live.pem')]
    const put = (from: typeof first) => {
      copyFileSync(from.tlsCert, tlsCert)
      copyFileSync(from.tlsKey, tlsKey)
    }
    put(first)
    const server = await startTls({ tlsCert, tlsKey })
    const to = { ...(await reach(server)), transport: 'tls' } as const
    discard(await connect({ ...to, tlsCa: first.tlsCert }))
    put(second)
    await server.reload()
    discard(await connect({ ...to, tlsCa: second.tlsCert }))
    expect(await rejection(connect({ ...to, tlsCa: first.tlsCert }))).toMatchObject({
      code: 'ERR_ALKNET_TLS',
    })
    copyFileSync(first.tlsCert, tlsCert)
    expect(await rejection(server.reload())).toMatchObject({ code: 'ERR_ALKNET_CONFIG' })
    discard(await connect({ ...to, tlsCa: second.tlsCert }))
  })

  it('is needed, with its own key', async () => {
    const [one, two] = [await makeCertificate('one'), await makeCertificate('two')]
    for (const wrong of [
      { tlsCert: undefined, tlsKey: undefined },
      { tlsKey: undefined },
      { tlsCert: one.tlsCert, tlsKey: two.tlsKey },
      { tlsCert: Buffer.from('no PEM') },
    ]) {
      expect(await rejection(startTls(wrong))).toMatchObject({ code: 'ERR_ALKNET_CONFIG' })
    }
  })
})

describe('a client of TLS', () => {
  it('says so when the port does not speak it', async () => {
    const peer = await startTcp((socket) => socket.end('SSH-2.0-other\r\n'))
    const { identity } = await reach(await startServer())
    const error = await rejection(
      connect({
        server: peer.server,
        identity: identity ?? '',
        hostKeys: `SHA256:${'A'.repeat(43)}`,
        transport: 'tls',
      }),
    )
    expect(error).toMatchObject({ code: 'ERR_ALKNET_TLS', phase: 'tls' })
  })
})

describe('stealth', () => {
  it('lets SSH in wherever its first line is cut', async () => {
    const server = await startTls({ stealth: true })
    for (const parts of [[...'SSH-2.0-x\r\n'], ['SSH', '-2.0-x\r\n'], ['SSH-2.0-x\r\n']]) {
      expect(await talk(server, parts)).toMatch(/^SSH-2\.0-alknet_\d+\r\n/)
    }
    const accepted = nextConnection(server)
    const to = { ...(await reach(server)), transport: 'tls', insecure: true } as const
    await say(discard(await connect(to)), (await accepted).stream, 'not hidden from us')
  })

  it('shows noise and silence what a web server does', async () => {
    const server = await startTls({ stealth: true })
    expect(await talk(server, ['no request\r\n\r\n'])).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/)
    expect(await talk(server, ['SSX-2.0\r\n\r\n'])).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/)
  })

  it('costs no visitor a penalty', async () => {
    const limits = { penalties: { noAuth: 600_000, threshold: 1_000 } }
    const server = await startTls({ stealth: true, limits })
    const get = 'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
    for (let visit = 0; visit < 3; visit++) {
      expect(await talk(server, [get])).toMatch(/^HTTP\/1\.1 404 Not Found\r\n/)
    }
  })

  it('is refused without the transport tls', async () => {
    expect(await rejection(startServer({ stealth: true }))).toMatchObject({
      code: 'ERR_ALKNET_CONFIG',
    })
  })
})

describeWith('curl', 'curl, from outside', () => {
  it('sees a web server without a page', async () => {
    const server = await startTls({ stealth: true })
    const curl = async (...args: string[]) => {
      const url = `https://${server.addresses[0]}/any`
      return (await run('curl', ['-ski', '--max-time', '20', ...args, url])).stdout
    }
    const page = await curl()
    expect(page).toMatch(/^HTTP\/1\.1 404 Not Found\r\n/)
    expect(page).toMatch(/\r\nDate: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r\n/)
    expect(page).toMatch(/\r\nContent-Type: text\/html\r\n/)
    expect(page).toContain('<h1>404 Not Found</h1>')
    expect(page).not.toMatch(/ssh|alknet/i)
    expect(await curl('--head')).toMatch(/^HTTP\/1\.1 404 /)
    expect(await curl('--data', 'x')).toMatch(/^HTTP\/1\.1 405 /)
  })
})

describe('a WebSocket', () => {
  const ask = (server: AlknetServer, headers: Record<string, string>, path = '/alknet') =>
    fetch(`http://${server.addresses[0]}${path}`, { headers })

  it('is on its path alone, and its server tells strangers nothing', async () => {
    const server = await startServer({ listen: 'ws://127.0.0.1:0/some/where' })
    expect((await ask(server, {})).status).toBe(404)
    expect((await ask(server, {}, '/some/where')).status).toBe(426)
    const { identity } = await reach(server)
    discard(await connect(server.connectionString, { identity: identity ?? '' }))
    const to = { ...(await reach(server)), transport: 'ws' } as const
    expect(await rejection(connect(to))).toMatchObject({
      code: 'ERR_ALKNET_PROTOCOL',
      phase: 'upgrade',
      message: expect.stringContaining('404'),
    })
  })

  it('opens for pages of the origins and by the names that are listed', async () => {
    const server = await startServer({
      transport: 'ws',
      wsHosts: ['127.0.0.1'],
      wsOrigins: ['https://app.example'],
    })
    const port = Number(server.addresses[0]?.split(':').at(-1))
    const open = async (origin: string, host = '127.0.0.1') => {
      const headers = {
        ...{ Host: `${host}:${port}`, Origin: origin, Connection: 'Upgrade', Upgrade: 'websocket' },
        ...{ 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'MDEyMzQ1Njc4OWFiY2RlZg==' },
      }
      const request = get({ port, host: '127.0.0.1', path: '/alknet', headers, agent: false })
      afterwards(() => void request.destroy())
      return new Promise((resolve, reject) => {
        request.on('error', reject)
        request.on('upgrade', ({ statusCode }) => resolve(statusCode))
        request.on('response', (response) => resolve(response.resume().statusCode))
      })
    }
    expect(await open('https://evil.example')).toBe(403)
    expect(await open('https://app.example', 'evil.example')).toBe(403)
    expect(await open('https://app.example')).toBe(101)
  })
})

describeWith('nginx', 'nginx in front of a WebSocket', () => {
  it('passes streams through as an ordinary reverse proxy', async () => {
    const server = await startServer({ transport: 'ws' })
    const { tlsCert, tlsKey } = await certificate()
    const [port, folder] = [await freePort(), scratch()]
    const file = join(folder, 'nginx.conf')
    writeFileSync(
      file,
      `daemon off; master_process off; pid ${folder}/nginx.pid; error_log stderr; events {}
       http { access_log off; client_body_temp_path ${folder}; proxy_temp_path ${folder};
         fastcgi_temp_path ${folder}; uwsgi_temp_path ${folder}; scgi_temp_path ${folder};
         server { listen 127.0.0.1:${port} ssl; ssl_certificate ${tlsCert}; ssl_certificate_key ${tlsKey};
           ssl_protocols TLSv1.3;
           location /alknet { proxy_pass http://${server.addresses[0]}; proxy_http_version 1.1;
             proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; } } }`,
    )
    start(peerPath('nginx'), ['-c', file, '-e', 'stderr'])
    const to = { ...(await reach(server)), server: `wss://127.0.0.1:${port}`, tlsCa: tlsCert }
    const accepted = nextConnection(server)
    // Listening is all that nginx does not tell of.
    const client = await (async () => {
      for (;;) {
        const opened = await connect(to).catch((error: NodeJS.ErrnoException) => error)
        if (!(opened instanceof Error)) return discard(opened)
        if (opened.code !== 'ECONNREFUSED') throw opened
      }
    })()
    const { stream } = await accepted
    await say(client, stream, 'through nginx')
    await say(stream, client, 'and back')
    expect([client.info.transport, stream.info.transport]).toEqual(['wss', 'ws'])
  })
})
