/**
 * Who may log in, as a table: each row is a server, somebody who comes, and what must become of it, with every client there is, over
 * every transport. Foreign clients know TCP alone: over the others they go through code that is not ours either, with the rows that tell.
 */
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { connect as tlsConnect } from 'node:tls'
import { fileURLToPath } from 'node:url'
import ssh2 from 'ssh2'
import { beforeAll, describe, expect, it } from 'vitest'
import { createWebSocketStream, WebSocket } from 'ws'
import {
  type AlknetConnectOptions,
  type AlknetServer,
  type AlknetTransport,
  openSession,
  serve,
} from '../index.js'
import { meet } from './support/alknet.js'
import { certify } from './support/certificates.js'
import { memo } from './support/cleanup.js'
import { hostKey, type KeyPair, makeKey, scratch } from './support/keys.js'
import { startEcho, startTcp } from './support/net.js'
import { describeWith, findPeer, peerPath } from './support/peers.js'
import { start } from './support/program.js'
import { over } from './support/transports.js'

/** Nobody got in; somebody is in, but streams lead nowhere; streams lead where they should. */
type Verdict = 'refused' | 'in' | 'forwards'

interface Row {
  name: string
  want: Verdict
  /** Lines of `authorizedKeys`. */
  keys?: string[]
  /** Lines of `certAuthority`. */
  authorities?: string[]
  /** Lines of `revokedKeys`. */
  revoked?: string[]
  /** Who comes. */
  key: KeyPair
  certificate?: string
  user?: string
}

interface Case extends Row {
  server: AlknetServer
  /** What our own client needs besides. */
  connect: AlknetConnectOptions | undefined
  /** Where a client finds the server that knows TCP alone. */
  port: number
  /** A port that echoes. */
  target: number
}

type Client = (at: Case) => Promise<Verdict>

const always = ['-V', '-1d:+1d']
const anna = ['-n', 'anna', ...always]
const forward = 'permit-port-forwarding'

async function pairs() {
  const rsa = (bits: number) => ['-t', 'rsa', '-b', `${bits}`]
  const ecdsa = (bits: number) => ['-t', 'ecdsa', '-b', `${bits}`]
  const [key, other, p256, p384, p521, rsa2048, rsa1024] = await Promise.all([
    makeKey('matrix'),
    makeKey('matrix-other'),
    makeKey('matrix-p256', ecdsa(256)),
    makeKey('matrix-p384', ecdsa(384)),
    makeKey('matrix-p521', ecdsa(521)),
    makeKey('matrix-rsa', rsa(2048)),
    makeKey('matrix-rsa1024', rsa(1024)),
  ])
  const [ca, caOther, caEcdsa, caRsa] = await Promise.all([
    makeKey('matrix-ca'),
    makeKey('matrix-ca-other'),
    makeKey('matrix-ca-p384', ecdsa(384)),
    makeKey('matrix-ca-rsa', rsa(2048)),
  ])
  return { key, other, p256, p384, p521, rsa2048, rsa1024, ca, caOther, caEcdsa, caRsa }
}

type Pairs = Awaited<ReturnType<typeof pairs>>

function keyRows({ key, other, p256, p384, p521, rsa2048, rsa1024 }: Pairs): Row[] {
  const plain = (name: string, pair: KeyPair, want: Verdict): Row => {
    return { name, want, keys: [pair.publicKey], key: pair }
  }
  const line = (options: string, want: Verdict): Row => {
    return { name: options, want, keys: [`${options} ${key.publicKey}`], key }
  }
  const named = (user: string, want: Verdict): Row => {
    return { name: `user ${user}`, want, keys: [key.publicKey], key, user }
  }
  return [
    plain('Ed25519', key, 'forwards'),
    plain('ECDSA P-256', p256, 'forwards'),
    plain('ECDSA P-384', p384, 'forwards'),
    plain('ECDSA P-521', p521, 'forwards'),
    plain('RSA 2048', rsa2048, 'forwards'),
    { ...plain('RSA 1024', rsa1024, 'refused'), keys: [other.publicKey, rsa1024.publicKey] },
    { name: 'a stranger', want: 'refused', keys: [other.publicKey], key },
    { name: 'one of several', want: 'forwards', keys: [other.publicKey, key.publicKey], key },
    line('from="127.0.0.0/8"', 'forwards'),
    line('from="10.0.0.0/8"', 'refused'),
    line('from="127.*,!127.0.0.1"', 'refused'),
    line('expiry-time="20990101Z"', 'forwards'),
    line('expiry-time="20200101Z"', 'refused'),
    line('restrict', 'in'),
    line('restrict,port-forwarding', 'forwards'),
    line('no-port-forwarding', 'in'),
    line('command="date"', 'in'),
    line('permitopen="127.0.0.1:*"', 'forwards'),
    line('permitopen="127.0.0.2:*"', 'in'),
    line('no-pty,no-agent-forwarding,no-X11-forwarding', 'forwards'),
    { ...line('shiny', 'refused'), keys: [other.publicKey, `shiny ${key.publicKey}`] },
    {
      name: 'the first of two lines decides',
      want: 'in',
      keys: [`restrict ${key.publicKey}`, key.publicKey],
      key,
    },
    line('cert-authority', 'refused'),
    { ...line('', 'refused'), name: 'a revoked key', revoked: [key.publicKey] },
    { ...line('', 'refused'), name: 'a revoked fingerprint', revoked: [key.fingerprint] },
    {
      ...line('', 'forwards'),
      name: 'another revoked key',
      revoked: [other.publicKey, 'serial: 1'],
    },
    named('a.b_c@d-e', 'forwards'),
    named('an/na', 'refused'),
    named('a'.repeat(65), 'refused'),
  ]
}

async function certificateRows(pairs: Pairs): Promise<Row[]> {
  const { key, other, p256, p521, rsa2048, ca, caOther, caEcdsa, caRsa } = pairs
  interface Paper {
    by?: KeyPair
    for?: KeyPair
    args?: string[]
    options?: string
    server?: Partial<Row>
    user?: string
  }
  const row = async (name: string, want: Verdict, paper: Paper = {}): Promise<Row> => {
    const owner = paper.for ?? key
    const certificate = await certify(paper.by ?? ca, owner, paper.args ?? anna)
    const authorities = [`${paper.options ?? ''} ${ca.publicKey}`]
    const user = paper.user ?? 'anna'
    return {
      name: `certificate: ${name}`,
      want,
      authorities,
      key: owner,
      certificate,
      user,
      ...paper.server,
    }
  }
  const numbered = ['-z', '7', ...anna]
  return Promise.all([
    row('of an authority', 'forwards'),
    row('of a line with cert-authority', 'forwards', {
      server: { authorities: [], keys: [`cert-authority ${ca.publicKey}`] },
    }),
    row('of an ECDSA authority', 'forwards', {
      by: caEcdsa,
      server: { authorities: [caEcdsa.publicKey] },
    }),
    row('of an RSA authority', 'forwards', {
      by: caRsa,
      server: { authorities: [caRsa.publicKey] },
    }),
    row('signed with SHA-1', 'refused', {
      by: caRsa,
      args: ['-t', 'ssh-rsa', ...anna],
      server: { authorities: [caRsa.publicKey] },
    }),
    row('for an ECDSA key', 'forwards', { for: p256 }),
    row('for a P-521 key', 'forwards', { for: p521 }),
    row('for an RSA key', 'forwards', { for: rsa2048 }),
    row('of another authority', 'refused', { by: caOther }),
    row('of an authority that is an ordinary key there', 'refused', {
      by: other,
      server: { keys: [other.publicKey] },
    }),
    row('of nobody, but the key is known', 'forwards', {
      by: caOther,
      server: { keys: [key.publicKey] },
    }),
    row('for another user', 'refused', { user: 'berta' }),
    row('for several users', 'forwards', { args: ['-n', 'berta,anna', ...always] }),
    row('for no user', 'refused', { args: always }),
    row('principals= of the line', 'forwards', {
      args: ['-n', 'admin', ...always],
      options: 'principals="root,admin"',
    }),
    row('not among principals=', 'refused', { options: 'principals="root"' }),
    row('expired', 'refused', { args: ['-n', 'anna', '-V', '-2d:-1d'] }),
    row('not valid yet', 'refused', { args: ['-n', 'anna', '-V', '+1d:+2d'] }),
    row('valid for ever', 'forwards', { args: ['-n', 'anna', '-V', 'always:forever'] }),
    row('for this address', 'forwards', { args: [...anna, '-O', 'source-address=127.0.0.0/8'] }),
    row('for other addresses', 'refused', { args: [...anna, '-O', 'source-address=10.0.0.0/8'] }),
    row('and the line for other addresses', 'refused', { options: 'from="10.0.0.0/8"' }),
    row('without permit-port-forwarding', 'in', { args: [...anna, '-O', 'clear'] }),
    row('with nothing but that', 'forwards', { args: [...anna, '-O', 'clear', '-O', forward] }),
    row('and a line with restrict', 'in', { options: 'restrict' }),
    row('and a line with permitopen', 'in', { options: 'permitopen="127.0.0.2:*"' }),
    row('with force-command', 'in', { args: [...anna, '-O', 'force-command=date'] }),
    row('with a critical option of no meaning', 'refused', {
      args: [...anna, '-O', 'critical:shiny@example.org=1'],
    }),
    row('with an extension of no meaning', 'forwards', {
      args: [...anna, '-O', 'extension:shiny@example.org=1'],
    }),
    row('of a host', 'refused', { args: ['-h', ...anna] }),
    row('whose serial is revoked', 'refused', {
      args: numbered,
      server: { revoked: ['serial: 5-9'] },
    }),
    row('whose serial is not', 'forwards', { args: numbered, server: { revoked: ['serial: 8'] } }),
    row('whose name is revoked', 'refused', { server: { revoked: ['id: of the test'] } }),
    row('whose key is revoked', 'refused', { server: { revoked: [key.publicKey] } }),
    row('whose authority is revoked', 'refused', { server: { revoked: [ca.fingerprint] } }),
    row('and the key alone, without', 'refused').then((made) => {
      const { certificate: _, ...rest } = made
      return rest
    }),
    row('expired, of a key that is known', 'in', {
      args: ['-n', 'anna', '-V', '-2d:-1d'],
      server: { keys: [`restrict ${key.publicKey}`] },
    }),
  ])
}

const allRows = memo(async () => {
  const made = await pairs()
  return [...keyRows(made), ...(await certificateRows(made))]
})

const lines = (list: string[] | undefined) => list && Buffer.from(`${list.join('\n')}\n`)

/** The names of rows that stand for the others: each verdict, for each of its kinds of reasons. */
const telling = [
  ...['Ed25519', 'RSA 1024', 'a stranger', 'restrict', 'a revoked key'],
  ...['from="127.0.0.0/8"', 'from="10.0.0.0/8"', 'permitopen="127.0.0.2:*"'],
  ...['of an authority', 'expired', 'for other addresses', 'without permit-port-forwarding'].map(
    (name) => `certificate: ${name}`,
  ),
]

/** Dials a server's port over a transport. */
const dials: Partial<Record<AlknetTransport, (port: number) => Duplex>> = {
  tls: (port) => tlsConnect({ port, host: '127.0.0.1', rejectUnauthorized: false }),
  ws: (port) => createWebSocketStream(new WebSocket(`ws://127.0.0.1:${port}/alknet`)),
}

/** A program with iroh and without alknet: of a peer, the TCP port that leads there. */
const pipe = memo(async () => {
  const program = start(peerPath('iroh-pipe'), [])
  return async ({ endpointId, addresses: [at] }: AlknetServer) => {
    program.stdin.write(`${endpointId} ${at}\n`)
    return Number((await program.line()).split(':').at(-1))
  }
})

/** A TCP port that leads to `port` over a transport, by Node's TLS or the package ws. */
async function carry(port: number, dial: (port: number) => Duplex): Promise<number> {
  const carrier = await startTcp((socket) => {
    const far = dial(port)
    far.on('error', () => socket.destroy()).on('close', () => socket.destroy())
    socket.on('error', () => far.destroy()).on('close', () => far.destroy())
    socket.pipe(far).pipe(socket)
  })
  return carrier.port
}

const transports: readonly AlknetTransport[] = ['tcp', 'tls', 'ws', 'iroh']

describe.each(transports)('the table of who may log in, over %s', (transport) => {
  let cases: Case[] = []

  beforeAll(async () => {
    const [rows, host, echo] = await Promise.all([allRows(), hostKey(), startEcho('127.0.0.1')])
    const { serve: more, connect } = await over(transport)
    const dial = dials[transport]
    cases = await Promise.all(
      rows.map(async (row) => {
        const server = await serve({
          listen: '127.0.0.1:0',
          hostKey: host.path,
          forwarding: true,
          limits: { penalties: false },
          ...given('authorizedKeys', lines(row.keys)),
          ...given('certAuthority', lines(row.authorities)),
          ...given('revokedKeys', lines(row.revoked)),
          ...more,
        })
        const own = Number(server.addresses[0]?.split(':').at(-1))
        const port = dial && telling.includes(row.name) ? await carry(own, dial) : own
        return { ...row, server, connect, port, target: echo.port }
      }),
    )
    if (transport === 'iroh' && findPeer('iroh-pipe')) {
      const lead = await pipe()
      for (const row of toShow()) row.port = await lead(row.server)
    }
    return () => Promise.all(cases.map(({ server }) => server.close()))
  })

  /** All rows, many at once for refusals take their time, each with its verdict. */
  async function everyRow(client: Client, rows = cases): Promise<[string, Verdict][]> {
    const answers = new Map<Case, Verdict>()
    const left = rows.values()
    const work = async () => {
      for (const row of left) answers.set(row, await client(row))
    }
    await Promise.all(Array.from({ length: 16 }, work))
    return rows.map((row) => [row.name, answers.get(row) as Verdict])
  }

  const wanted = (rows = cases) => rows.map(({ name, want }): [string, Verdict] => [name, want])

  it('holds for our own client', async () => {
    expect(await everyRow(own)).toEqual(wanted())
  })

  const toShow = () =>
    transport === 'tcp' ? cases : cases.filter(({ name }) => telling.includes(name))

  const ofOthers = () => {
    describeWith('ssh', 'with OpenSSH', () => {
      it('holds for ssh', async () => {
        expect(await everyRow(openssh, toShow())).toEqual(wanted(toShow()))
      })
    })

    describeWith('asyncssh', 'with asyncssh', () => {
      it('holds for asyncssh', async () => {
        expect(await asyncssh(toShow())).toEqual(wanted(toShow()))
      })
    })

    it('holds for ssh2, which has no certificates', async () => {
      const rows = toShow().filter(({ certificate }) => certificate === undefined)
      expect(await everyRow(ofSsh2, rows)).toEqual(wanted(rows))
    })
  }

  if (transport === 'iroh') describeWith('iroh-pipe', 'by an endpoint of others', ofOthers)
  else ofOthers()
})

async function own(row: Case): Promise<Verdict> {
  const { server, connect, key, certificate, user, target } = row
  try {
    const session = await openSession({
      ...(await meet(server, connect)),
      identity: key.path,
      ...given('certificate', certificate),
      ...given('user', user),
      reconnect: false,
    })
    try {
      ;(await session.open(`127.0.0.1:${target}`)).destroy()
      return 'forwards'
    } catch (error) {
      return of(error, { ERR_ALKNET_CHANNEL_REJECTED: 'in' })
    } finally {
      await session.close()
    }
  } catch (error) {
    return of(error, { ERR_ALKNET_AUTH_REJECTED: 'refused', ERR_ALKNET_KEY_INVALID: 'refused' })
  }
}

function of(error: unknown, verdicts: Record<string, Verdict>): Verdict {
  const verdict = verdicts[(error as NodeJS.ErrnoException).code ?? '']
  if (verdict === undefined) throw error
  return verdict
}

async function openssh({ server, port, key, certificate, user, target }: Case): Promise<Verdict> {
  const host = '127.0.0.1'
  const knownHosts = join(scratch(), `known_hosts.matrix.${port}`)
  writeFileSync(knownHosts, `[${host}]:${port} ${server.hostKey}\n`)
  const settings = [
    'BatchMode=yes',
    'IdentitiesOnly=yes',
    `UserKnownHostsFile=${knownHosts}`,
    'GlobalKnownHostsFile=none',
    ...(certificate ? [`CertificateFile=${certificate}`] : []),
  ].flatMap((setting) => ['-o', setting])
  const where = ['-F', 'none', '-p', `${port}`, '-i', key.path, '-l', user ?? 'anna', `${host}`]
  const args = [...settings, '-W', `127.0.0.1:${target}`, ...where]
  const client = start(peerPath('ssh'), args, { lines: false })
  client.stdout.resume()
  client.stdin.end('hello')
  const { code, stderr } = await client.exit
  if (code === 0) return 'forwards'
  if (/open failed: administratively prohibited/.test(stderr)) return 'in'
  if (/Permission denied|Too many authentication failures/.test(stderr)) return 'refused'
  throw new Error(`ssh ended with ${code}: ${stderr}`)
}

async function asyncssh(cases: Case[]): Promise<[string, Verdict][]> {
  const script = fileURLToPath(new URL('support/asyncssh/matrix.py', import.meta.url))
  const client = start(peerPath('asyncssh'), [script])
  const rows = cases.map(({ server, port, key, certificate, user, target }) => ({
    port,
    hostKey: server.hostKey,
    user: user ?? 'anna',
    key: key.path,
    certificate: certificate ?? null,
    target,
  }))
  client.stdin.end(JSON.stringify(rows))
  const verdicts = (await client.json()) as Verdict[]
  return cases.map(({ name }, i) => [name, verdicts[i] as Verdict])
}

async function ofSsh2({ port, key, user, target }: Case): Promise<Verdict> {
  const client = new ssh2.Client()
  const privateKey = readFileSync(key.path)
  try {
    client.connect({ host: '127.0.0.1', port, username: user ?? 'anna', privateKey })
    await once(client, 'ready')
  } catch (error) {
    if ((error as { level?: string }).level === 'client-authentication') return 'refused'
    throw error
  }
  try {
    return await new Promise<Verdict>((resolve) => {
      client.forwardOut('127.0.0.1', 1, '127.0.0.1', target, (error) => {
        resolve(error ? 'in' : 'forwards')
      })
    })
  } finally {
    client.end()
  }
}

/** A property, if it has a value. */
function given<K extends string, V>(name: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [name]: value } as { [P in K]?: V })
}
