// Takes what the tunnel's page is made of from the packages of others, compressed as it is served. A crate cannot fetch from npm, so it
// is in the repository; a test compares it with the packages that package-lock.json names.
//
//   node scripts/page.mjs   after a change of @xterm/xterm or @xterm/addon-fit in package.json
import fs from 'node:fs'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import { root } from './support.mjs'

const folder = path.join(root, 'src', 'server', 'tunnel', 'page')
const packages = ['@xterm/xterm', '@xterm/addon-fit']
const files = {
  'xterm.js.gz': '@xterm/xterm/lib/xterm.mjs',
  'xterm.css.gz': '@xterm/xterm/css/xterm.css',
  'fit.js.gz': '@xterm/addon-fit/lib/addon-fit.mjs',
}

const read = (name) => fs.readFileSync(path.join(root, 'node_modules', name))
for (const [name, of] of Object.entries(files)) {
  fs.writeFileSync(path.join(folder, name), gzipSync(read(of), { level: 9 }))
}
const texts = packages.map((name) => {
  const { version, license } = JSON.parse(read(`${name}/package.json`))
  return `${name} ${version}: ${license}\n\n${String(read(`${name}/LICENSE`)).trim()}\n`
})
fs.writeFileSync(path.join(folder, 'LICENSES'), texts.join(`\n${'-'.repeat(78)}\n\n`))
