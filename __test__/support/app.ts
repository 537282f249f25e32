import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { clientKey, hostKey, scratch } from './keys.js'

const smoke = fileURLToPath(new URL('smoke', import.meta.url))
// Far more than anything here takes: what hangs is ended and fails.
const limit = 180_000

/** How a command ended. */
export interface Outcome {
  code: number | null
  stdout: string
  stderr: string
}

/**
 * An empty folder of a user, with the key files of the README and the smoke programs in it. `parent` is where it is made: in a
 * folder that has `node_modules`, programs of the app find these too.
 */
export async function makeApp(name: string, parent = scratch()): Promise<string> {
  const app = join(parent, name)
  mkdirSync(app, { recursive: true })
  const [host, client] = await Promise.all([hostKey(), clientKey()])
  cpSync(host.path, join(app, 'host_key'))
  cpSync(client.path, join(app, 'client_key'))
  cpSync(client.publicPath, join(app, 'authorized_keys'))
  cpSync(smoke, app, { recursive: true })
  writeFileSync(join(app, 'package.json'), JSON.stringify({ name: 'app', private: true }))
  return app
}

/** Installs the package from `registry` into `app`, and asks no other registry. */
export async function installAlknet(app: string, registry: string): Promise<void> {
  const options = ['--registry', registry, '--cache', join(app, '.cache')]
  await succeed(app, 'npm', ['install', '@alkdev/alknet', ...options])
}

/** Runs a command in `cwd` to its end, with nothing of the checkout's in its environment. */
export function execute(
  cwd: string,
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<Outcome> {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(npm_|VITEST|NODE_|ALKNET_|INIT_CWD|CI$|TEST$|PROD$|DEV$|SSR$|MODE$)/.test(name),
  )
  const options = {
    cwd,
    env: { ...Object.fromEntries(inherited), ...env },
    timeout: limit,
    killSignal: 'SIGKILL' as const,
    maxBuffer: 2 ** 26,
  }
  return new Promise((resolve) => {
    execFile(command, args, options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : null
      resolve({ code, stdout, stderr })
    })
  })
}

/** Runs a command that must end by itself and well. */
export async function succeed(...call: Parameters<typeof execute>): Promise<Outcome> {
  const outcome = await execute(...call)
  expect(outcome, [call[1], ...call[2]].join(' ')).toMatchObject({ code: 0 })
  return outcome
}

/** Runs a smoke program with `command`, and sees that it did all it should, said no more, and ended. */
export async function expectWell(cwd: string, command: string, ...args: string[]): Promise<void> {
  const outcome = await execute(cwd, command, args)
  expect(outcome, [command, ...args].join(' ')).toEqual({
    code: 0,
    stdout: 'all is well\n',
    stderr: '',
  })
}
