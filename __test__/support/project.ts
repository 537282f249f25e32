import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect } from 'vitest'
import { execute, installAlknet, makeApp, type Outcome } from './app.js'
import { afterwards } from './cleanup.js'
import { packAll, startRegistry } from './registry.js'
import { install, type Tools } from './tools.js'

/** A user's project with alknet and some tools installed. */
export interface Project {
  folder: string
  tarballs: readonly string[]
  /** Makes or replaces a file. */
  write(name: string, text: string): void
  /** Runs Node with these arguments. */
  node(...args: string[]): Promise<Outcome>
  /** The path of a file of a tool, such as `typescript/bin/tsc`. */
  tool(file: string): string
}

/** Such a project, or `undefined` where the tools cannot be had. */
export async function makeProject(tools: Tools): Promise<Project | undefined> {
  const modules = await install(tools)
  if (modules === undefined) return undefined
  const folder = mkdtempSync(join(dirname(modules), 'project-'))
  afterwards(() => rmSync(folder, { recursive: true, force: true }))
  await makeApp('.', folder)
  const tarballs = await packAll()
  await installAlknet(folder, await startRegistry(tarballs))
  return {
    folder,
    tarballs,
    write: (name, text) => writeFileSync(join(folder, name), text),
    node: (...args) => execute(folder, process.execPath, args),
    tool: (file) => join(modules, file),
  }
}

/** What a tool said, when it has not ended well. */
export function expectContent({ code, stdout, stderr }: Outcome): void {
  expect(code, `${stdout}\n${stderr}`).toBe(0)
}
