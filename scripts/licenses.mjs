// The notices of the crates that are linked into the addon: their licences ask that they travel with it.
import fs from 'node:fs'
import path from 'node:path'
import { Failure, output, root } from './support.mjs'

/** One text: each crate with its licence, and each licence text once, under the crates that came with it. */
export async function thirdPartyLicenses() {
  const args = ['metadata', '--format-version', '1', '--locked']
  const told = await output('cargo', args, { maxBuffer: 2 ** 28 })
  if (!told) throw new Failure('cargo metadata failed')
  const { packages, resolve, workspace_members: own } = JSON.parse(told)
  const linked = linkedInto('alknet-binding', packages, resolve)
  const crates = packages
    .filter(({ id }) => linked.has(id) && !own.includes(id))
    .sort((a, b) => a.name.localeCompare(b.name) || a.version.localeCompare(b.version))
  const holders = new Map()
  for (const crate of crates) {
    for (const text of notices(path.dirname(crate.manifest_path))) {
      holders.set(text, [...(holders.get(text) ?? []), `${crate.name} ${crate.version}`])
    }
  }
  const list = crates.map(({ name, version, license }) => `${name} ${version}: ${license}`)
  const texts = [...holders].map(([text, names]) => `${names.join(', ')}\n\n${text}`)
  // Of the tunnel's page, with their versions and texts.
  const scripts = fs.readFileSync(path.join(root, 'src/server/tunnel/page/LICENSES'), 'utf8').trim()
  const first = `This addon contains these works, and those of its web page:\n\n${list.join('\n')}`
  return `${[first, ...texts, scripts].join(rule)}\n`
}

const rule = `\n\n${'-'.repeat(78)}\n\n`

/** The ids of what `name` links: neither build scripts' nor tests' dependencies. */
function linkedInto(name, packages, resolve) {
  const nodes = new Map(resolve.nodes.map((node) => [node.id, node]))
  const found = new Set()
  const visit = (id) => {
    if (found.has(id)) return
    found.add(id)
    for (const { pkg, dep_kinds: kinds } of nodes.get(id).deps) {
      if (kinds.some(({ kind }) => kind === null)) visit(pkg)
    }
  }
  visit(packages.find((found) => found.name === name).id)
  return found
}

function notices(folder) {
  return fs
    .readdirSync(folder)
    .filter((name) => /^(licen[cs]e|copying|copyright|notice|unlicense)/i.test(name))
    .map((name) => path.join(folder, name))
    .filter((file) => fs.statSync(file).isFile())
    .map((file) => fs.readFileSync(file, 'utf8').replaceAll('\r\n', '\n').trim())
}
