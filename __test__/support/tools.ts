import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { leftOut } from './lacking.js'

const run = promisify(execFile)
const home = process.env.ALKNET_TOOLS_DIR ?? join(tmpdir(), 'alknet-tools')

/** Names and exact versions, as in a `package.json`. */
export type Tools = Readonly<Record<string, string>>

/**
 * Installs `tools` from the npm registry, once for each set of versions, and gives the path of their `node_modules`. Where they
 * cannot be had: `undefined` and a line that says so; with `CI=true` an error.
 */
export async function install(tools: Tools): Promise<string | undefined> {
  const wanted = JSON.stringify(tools)
  const key = createHash('sha256').update(wanted).digest('hex').slice(0, 12)
  const folder = join(home, key)
  if (existsSync(folder)) return join(folder, 'node_modules')
  const unfinished = `${folder}.${process.pid}`
  mkdirSync(unfinished, { recursive: true })
  try {
    const manifest = { name: 'tools', private: true, dependencies: tools }
    writeFileSync(join(unfinished, 'package.json'), JSON.stringify(manifest))
    const args = ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error']
    await run('npm', args, { cwd: unfinished, maxBuffer: 2 ** 26 })
    renameSync(unfinished, folder)
    return join(folder, 'node_modules')
  } catch (cause) {
    rmSync(unfinished, { recursive: true, force: true })
    const names = Object.entries(tools).map(([name, version]) => `${name}@${version}`)
    leftOut(`tests with ${names.join(', ')}`, { of: 'npm', why: String(cause) })
    return undefined
  }
}
