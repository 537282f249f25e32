import { mkdtempSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { forwarders } from '../index.js'
import { rejection } from './support/alknet.js'
import { scratch } from './support/keys.js'
import { freePort, startEcho, startTcp } from './support/net.js'

describe('forwarders', () => {
  it('are started, seen, read and ended from a program', async () => {
    process.env.ALKNET_HOME = mkdtempSync(path.join(scratch(), 'home-'))
    const echo = await startEcho()
    const begun = await forwarders.start({ listenPort: 0, targetPort: echo.port, name: 'mine' })
    try {
      expect(begun).toMatchObject({ id: 'mine', status: 'running', targetPort: echo.port })
      expect(begun.startedAt).toBeInstanceOf(Date)
      const [listed, ...others] = await forwarders.list({ check: true })
      expect(others).toEqual([])
      expect(listed).toMatchObject({ pid: begun.pid, targetReachable: true, lastError: undefined })
      expect(listed?.uptime).toBeGreaterThanOrEqual(0)
      const other = await startTcp()
      const exists = await rejection(forwarders.start({ name: 'mine', targetPort: other.port }))
      expect(exists).toMatchObject({ code: 'ERR_ALKNET_FORWARDER_EXISTS' })
      expect((await forwarders.logs('mine')).join('\n')).toContain('forwarder started')
      await forwarders.stop('mine')
      expect(await forwarders.status('mine')).toMatchObject({ status: 'stopped', pid: undefined })
      expect(await forwarders.list()).toEqual([])
      const taken = await rejection(forwarders.start({ listenPort: echo.port }))
      expect(taken).toMatchObject({ code: 'EADDRINUSE' })
      const none = await rejection(forwarders.logs(await freePort()))
      expect(none).toMatchObject({ code: 'ERR_ALKNET_FORWARDER_NOT_FOUND' })
      const wrong = await rejection(forwarders.start({ targetPort: 70_000 }))
      expect(wrong).toMatchObject({ code: 'ERR_ALKNET_CONFIG' })
    } finally {
      await forwarders.kill('mine')
    }
  })
})
