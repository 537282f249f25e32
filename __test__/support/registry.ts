import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterwards } from './cleanup.js'
import { scratch } from './keys.js'

const run = promisify(execFile)
export const root = fileURLToPath(new URL('../..', import.meta.url))

/** This machine's addon, as it was built: its name and path. */
export function builtAddon(): { name: string; path: string; platform: string } {
  const name = readdirSync(join(root, 'native')).find((file) => file.endsWith('.node'))
  if (name === undefined) throw new Error('no addon was built')
  return { name, path: join(root, 'native', name), platform: name.split('.')[1] ?? '' }
}

/** Packs what would be published. Only this platform's addon is real; those of the others are one line of text. */
export async function packAll(): Promise<string[]> {
  const artifacts = join(scratch(), 'artifacts')
  mkdirSync(artifacts, { recursive: true })
  const built = builtAddon()
  for (const key of readdirSync(join(root, 'npm'))) writeAddon(`alknet.${key}.node`)
  const out = join(scratch(), 'tarballs')
  const args = ['scripts/pack.mjs', '--out', out, '--artifacts', artifacts]
  await run(process.execPath, args, { cwd: root })
  const files = readdirSync(out, { recursive: true }).map(String)
  return files.filter((file) => file.endsWith('.tgz')).map((file) => join(out, file))

  function writeAddon(name: string): void {
    const bytes = name === built.name ? readFileSync(built.path) : 'an addon for another platform'
    writeFileSync(join(artifacts, name), bytes)
  }
}

interface Manifest {
  name: string
  version: string
}

/** A registry on loopback that has these tarballs and nothing else. Gives its address. */
export async function startRegistry(tarballs: readonly string[]): Promise<string> {
  const documents = new Map<string, unknown>()
  const files = new Map<string, Buffer>()
  const server = createServer((request, response) => {
    const name = decodeURIComponent(request.url ?? '').slice(1)
    const document = documents.get(name)
    const file = files.get(basename(name))
    if (document === undefined && file === undefined) response.statusCode = 404
    response.end(document === undefined ? file : JSON.stringify(document))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  afterwards(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  for (const tarball of tarballs) {
    const bytes = readFileSync(tarball)
    const { stdout } = await run('tar', ['-xzOf', tarball, 'package/package.json'])
    const manifest = JSON.parse(stdout) as Manifest
    const dist = {
      tarball: `${url}-/${basename(tarball)}`,
      shasum: createHash('sha1').update(bytes).digest('hex'),
      integrity: `sha512-${createHash('sha512').update(bytes).digest('base64')}`,
    }
    files.set(basename(tarball), bytes)
    documents.set(manifest.name, {
      name: manifest.name,
      'dist-tags': { latest: manifest.version },
      versions: { [manifest.version]: { ...manifest, dist } },
    })
  }
  return url
}
