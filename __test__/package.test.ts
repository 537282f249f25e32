import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, it } from 'vitest'
import { scratch } from './support/keys.js'

const run = promisify(execFile)
const root = fileURLToPath(new URL('..', import.meta.url))
const modules = join(scratch(), 'node_modules')
const installed = join(modules, '@alkdev', 'alknet')

const addon = readdirSync(join(root, 'native')).find((name) => name.endsWith('.node')) ?? ''
const platform = addon.split('.')[1] ?? ''

/** Runs `code` in a project that has the package installed; gives what it printed. */
async function evaluate(code: string, ...flags: string[]): Promise<string> {
  const { stdout } = await run(process.execPath, [...flags, '-e', code], { cwd: scratch() })
  return stdout.trim()
}

const esm = (code: string) => evaluate(code, '--input-type=module')

/** What `connect()` says to a key that it cannot use, which only the addon finds out. */
const attempt = `await connect({ server: '127.0.0.1:1', identity: Buffer.from('no key') }).catch(({ code }) => code)`

describe('the package as npm packs it', () => {
  beforeAll(async () => {
    mkdirSync(installed, { recursive: true })
    const args = ['pack', '--silent', '--ignore-scripts', '--pack-destination', scratch()]
    await run('npm', args, { cwd: root })
    const tarball = readdirSync(scratch()).find((name) => name.endsWith('.tgz')) ?? 'no tarball'
    const target = ['-C', installed, '--strip-components=1']
    await run('tar', ['-xzf', join(scratch(), tarball), ...target])
  })

  it('carries no addon of the machine that packed it, and no sources', () => {
    const files = readdirSync(installed, { recursive: true }).map(String)
    expect(files.filter((name) => /\.node$|^(src|ts|__test__|scripts)\b/.test(name))).toEqual([])
    expect(files).toEqual(
      expect.arrayContaining(['index.js', 'index.cjs', 'index.d.ts', 'index.d.cts']),
    )
    expect(files).toEqual(expect.arrayContaining(['LICENSE-MIT', 'LICENSE-APACHE', 'README.md']))
  })

  it('can be imported without an addon, and says what is missing when it is needed', async () => {
    const code = `import { connect } from '@alkdev/alknet'; console.log(${attempt})`
    expect(await esm(code)).toBe('ERR_ALKNET_BINDING_NOT_FOUND')
  })

  describe('with the addon in its package for this platform', () => {
    beforeAll(() => {
      const folder = join(modules, '@alkdev', `alknet-${platform}`)
      mkdirSync(folder)
      cpSync(join(root, 'native', addon), join(folder, addon))
      const manifest = { name: `@alkdev/alknet-${platform}`, version: '0.1.0', main: addon }
      writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest))
    })

    it('works by import', async () => {
      const code = `import { connect } from '@alkdev/alknet'; console.log(${attempt})`
      expect(await esm(code)).toBe('ERR_ALKNET_KEY_INVALID')
    })

    it('works by require', async () => {
      const code = `const { connect } = require('@alkdev/alknet');
        (async () => console.log(${attempt}))()`
      expect(await evaluate(code)).toBe('ERR_ALKNET_KEY_INVALID')
    })
  })
})
