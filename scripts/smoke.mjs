// Tries packed packages where they are to run: unpacks the tarballs of `npm run release:pack` into an empty folder and does there
// what every user does. Needs Node and tar alone.
//
//   node scripts/smoke.mjs RELEASE-FOLDER
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { makeKeyPair } from '../examples/support/key-pair.mjs'
import { Failure, must, program, root, say } from './support.mjs'

const scope = 'alkdev-'

async function main([release]) {
  if (!release) throw new Failure('which folder has the tarballs?')
  const app = fs.mkdtempSync(path.join(os.tmpdir(), 'alknet-smoke-'))
  try {
    for (const tarball of tarballs(release)) await unpack(app, tarball)
    writeKeys(app)
    fs.cpSync(path.join(root, '__test__', 'support', 'smoke'), app, { recursive: true })
    for (const file of ['import.mjs', 'require.cjs', 'worker.mjs']) {
      say(`${file} on ${process.platform} ${process.arch}, Node ${process.versions.node}`)
      await must(process.execPath, [file], { cwd: app })
    }
  } finally {
    fs.rmSync(app, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** All of them: which addon is the right one is for the package to find out. */
function tarballs(release) {
  const found = [release, path.join(release, 'platforms')].flatMap((folder) =>
    fs.readdirSync(folder).map((name) => path.join(folder, name)),
  )
  return found.filter((file) => path.basename(file).startsWith(scope) && file.endsWith('.tgz'))
}

async function unpack(app, tarball) {
  const name = path
    .basename(tarball)
    .slice(scope.length)
    .replace(/-\d+\.\d+\.\d+.*\.tgz$/, '')
  const folder = path.join(app, 'node_modules', '@alkdev', name)
  fs.mkdirSync(folder, { recursive: true })
  // Its name alone: tar takes a drive letter for a host.
  fs.copyFileSync(tarball, path.join(folder, 'package.tgz'))
  await must('tar', ['-xzf', 'package.tgz', '--strip-components=1'], { cwd: folder })
}

function writeKeys(app) {
  const [host, client] = [makeKeyPair('host'), makeKeyPair('client')]
  fs.writeFileSync(path.join(app, 'host_key'), host.privateKey, { mode: 0o600 })
  fs.writeFileSync(path.join(app, 'client_key'), client.privateKey, { mode: 0o600 })
  fs.writeFileSync(path.join(app, 'authorized_keys'), client.publicKey)
}

await program(import.meta.url, main)
