// Packs what is published: one tarball for each platform and the main one, which names them as optional dependencies. In a
// checkout it names none, so that `npm ci` looks for nothing that is not published yet.
//
//   npm run release:pack -- --out DIR --artifacts DIR   every platform of npm/; each addon is somewhere under --artifacts
//   npm run release:pack -- --out DIR --here            only this platform, with the addon that was built here
//
// Published are DIR/platforms/*.tgz, then DIR/*.tgz. The checkout is not changed.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { thirdPartyLicenses } from './licenses.mjs'
import { ensureRust, Failure, output, program, readJson, root, say } from './support.mjs'

const own = readJson(path.join(root, 'package.json'))
const licenses = ['LICENSE-MIT', 'LICENSE-APACHE']

async function main(args) {
  const { values } = parseArgs({
    args,
    options: {
      out: { type: 'string' },
      artifacts: { type: 'string' },
      here: { type: 'boolean', default: false },
    },
  })
  if (!values.out) throw new Failure('--out is missing: the folder for the tarballs')
  const artifacts = values.here ? path.join(root, 'native') : values.artifacts
  if (!artifacts) throw new Failure('give --artifacts, the folder with the addons, or --here')
  const addons = find(artifacts)
  const platforms = platformPackages().filter(({ addon }) => !values.here || addons.has(addon))
  if (platforms.length === 0) throw new Failure(`${artifacts} has no addon`)
  const missing = platforms.filter(({ addon }) => !addons.has(addon))
  for (const { addon } of missing) say(`${addon} is missing`)
  if (missing.length > 0) throw new Failure(`${artifacts} does not have every addon`)
  await pack(path.resolve(values.out), platforms, addons)
}

/** The packages of npm/: folder, manifest and the name of the addon. */
function platformPackages() {
  const folder = path.join(root, 'npm')
  return fs.readdirSync(folder).map((key) => {
    const manifest = readJson(path.join(folder, key, 'package.json'))
    if (manifest.version !== own.version) {
      throw new Failure(
        `npm/${key} is of version ${manifest.version}: run node scripts/version.mjs`,
      )
    }
    return { folder: path.join(folder, key), manifest, addon: manifest.main }
  })
}

/** Every addon under `folder`, by its name. */
function find(folder) {
  const files = fs.readdirSync(folder, { recursive: true, withFileTypes: true })
  const addons = files.filter((file) => file.isFile() && file.name.endsWith('.node'))
  return new Map(addons.map((file) => [file.name, path.join(file.parentPath, file.name)]))
}

async function pack(out, platforms, addons) {
  const stage = fs.mkdtempSync(path.join(os.tmpdir(), 'alknet-pack-'))
  try {
    await ensureRust()
    const thirdParty = await thirdPartyLicenses()
    const folders = platforms.map(({ folder, addon }) => {
      const copy = path.join(stage, addon)
      fs.cpSync(folder, copy, { recursive: true })
      fs.copyFileSync(addons.get(addon), path.join(copy, addon))
      for (const name of licenses) fs.copyFileSync(path.join(root, name), path.join(copy, name))
      fs.writeFileSync(path.join(copy, 'THIRD-PARTY-LICENSES'), thirdParty)
      return copy
    })
    await npmPack([...folders, await mainPackage(stage, platforms)], stage)
    fs.mkdirSync(path.join(out, 'platforms'), { recursive: true })
    for (const tarball of fs.readdirSync(stage).filter((name) => name.endsWith('.tgz'))) {
      const isMain = tarball === `alkdev-alknet-${own.version}.tgz`
      fs.copyFileSync(path.join(stage, tarball), path.join(out, isMain ? '' : 'platforms', tarball))
    }
  } finally {
    fs.rmSync(stage, { recursive: true, force: true })
  }
}

/** What npm would pack of the checkout, with the manifest that is published. */
async function mainPackage(stage, platforms) {
  const listed = await output('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'])
  if (!listed) throw new Failure('npm pack --dry-run failed')
  const copy = path.join(stage, 'main')
  for (const { path: file } of JSON.parse(listed)[0].files) {
    fs.cpSync(path.join(root, file), path.join(copy, file))
  }
  const { scripts, devDependencies, allowScripts, napi, ...manifest } = own
  const versions = platforms.map(({ manifest: { name } }) => [name, own.version])
  manifest.optionalDependencies = Object.fromEntries(versions)
  fs.writeFileSync(path.join(copy, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
  return copy
}

/** Packs `folders` into `out`, and shows the sizes. */
async function npmPack(folders, out) {
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', out, ...folders]
  const told = await output('npm', args, { maxBuffer: 2 ** 26 })
  if (!told) throw new Failure('npm pack failed')
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(2)} MB`.padStart(9)
  for (const { filename, size, unpackedSize } of JSON.parse(told)) {
    say(`${megabytes(size)} packed, ${megabytes(unpackedSize)} installed: ${filename}`)
  }
}

await program(import.meta.url, main)
