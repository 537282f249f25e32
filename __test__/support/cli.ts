import { fileURLToPath } from 'node:url'
import { clientKey, hostKey, type KeyPair } from './keys.js'
import { type Program, start } from './program.js'

/** The command line as a program of its own. */
export const alknetProgram = fileURLToPath(new URL('../../native/alknet', import.meta.url))

/** Nothing of whoever runs the tests may matter, and no fixed port may be taken. */
export const plainEnv: NodeJS.ProcessEnv = {}
for (const [name, value] of Object.entries(process.env)) {
  plainEnv[name] = name.startsWith('ALKNET_') ? undefined : value
}
plainEnv.ALKNET_NO_SOCKS5 = 'true'

/** A server that runs: ours or another. */
export interface Served {
  program: Program
  /** `host:port`. */
  server: string
  /** All that a client needs but its key; of ours alone. */
  connectionString?: string
  port: number
  hostKey: KeyPair
  user: string
}

/** Starts `alknet serve` for the client's key, on a free port unless told otherwise; `under` is a command that runs it. */
export async function serveAlknet(
  args: readonly string[] = [],
  more?: { listen?: string; hostKey?: KeyPair; under?: readonly string[] },
): Promise<Served> {
  const key = more?.hostKey ?? (await hostKey())
  const keys = ['--key', key.path, '--authorized-keys', (await clientKey()).publicPath]
  const listen = ['--listen', more?.listen ?? '127.0.0.1:0', '--json']
  const program = run(more?.under, ['serve', ...keys, ...listen, ...args], plainEnv)
  const { addresses, connectionString } = await program.json<Listening>()
  const [server] = addresses
  const port = Number(server.split(':')[1])
  return { program, server, connectionString, port, hostKey: key, user: 'visitor' }
}

interface Listening {
  addresses: [string]
  connectionString: string
}

function run(under: readonly string[] = [], words: string[], env: NodeJS.ProcessEnv): Program {
  const [command = alknetProgram, ...rest] = [...under, alknetProgram, ...words]
  return start(command, rest, { env })
}

/** What `alknet connect` says of each forward, in the order of its options. */
export interface Told {
  event: string
  kind?: string
  addresses?: string[]
  port?: number | null
  code?: string
}

/** Starts `alknet connect` at `served`, `under` a command if wanted, and resolves once it is ready. */
export async function connectAlknet(
  served: Pick<Served, 'server' | 'hostKey' | 'user'>,
  args: readonly string[],
  under: readonly string[] = [],
): Promise<{ program: Program; told: Told[]; ports: number[] }> {
  const who = ['-l', served.user, '-i', (await clientKey()).path]
  const known = ['--host-key', served.hostKey.fingerprint]
  const env = { ...plainEnv, ALKNET_NO_SOCKS5: String(!args.includes('-D')) }
  const words = ['connect', served.server, ...who, ...known, '--json', ...args]
  const program = run(under, words, env)
  const told: Told[] = []
  for (;;) {
    const next = await program.json<Told>()
    if (next.event === 'ready') break
    told.push(next)
  }
  const ports = told.map(({ port, addresses }) => port ?? Number(addresses?.[0]?.split(':').at(-1)))
  return { program, told, ports }
}
