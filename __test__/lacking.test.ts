import { afterEach, describe, expect, it, vi } from 'vitest'
import { lackOf, leftOut } from './support/lacking.js'

/** What a program said before it failed. */
const tried = (stderr: string) => ({ stderr }) as Parameters<typeof lackOf>[1]

describe('tests for which something is lacking', () => {
  afterEach(() => {
    vi.unstubAllEnvs()
    vi.restoreAllMocks()
  })

  it.each([
    ['left out loudly', { CI: '' }, 'no such thing', true],
    ['a failure in CI', { CI: 'true' }, 'no such thing', false],
    ['left out where CI was told', { CI: 'true', ALKNET_ALLOW_SKIP: 'a,disk' }, 'no', true],
    ['left out where the system forbids', { CI: 'true' }, 'unshare: Operation not permitted', true],
  ])('are %s', (_what, env, said, out) => {
    vi.stubEnv('ALKNET_ALLOW_SKIP', undefined)
    for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value)
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {})
    const decide = () => leftOut('a full disk', lackOf('disk', tried(said)))
    if (out) expect(decide()).toBe(true)
    else expect(decide).toThrow(/for want of disk \(no such thing\), 'a full disk'/)
    expect(warn.mock.calls).toEqual(
      out ? [[`SKIPPED for want of disk (${said}): a full disk`]] : [],
    )
  })

  it('are run when nothing is', () => {
    expect(leftOut('a full disk', undefined)).toBe(false)
  })
})
