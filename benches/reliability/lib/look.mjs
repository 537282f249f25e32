// What a process holds, seen from inside.
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * After garbage collection: resident bytes; those V8 has reserved for JavaScript, which it gives back when it likes; open descriptors;
 * threads; what keeps the event loop alive.
 */
export async function probe() {
  for (let turn = 0; turn < 4; turn++) {
    await sleep(25)
    globalThis.gc()
  }
  const { rss, heapTotal } = process.memoryUsage()
  return {
    rss,
    v8: heapTotal,
    fds: fs.readdirSync('/proc/self/fd').length - 1, // less the one that reads the directory
    threads: fs.readdirSync('/proc/self/task').length,
    active: process.getActiveResourcesInfo().length,
    handles: process._getActiveHandles().length,
  }
}

export const MB = 1e6

/** The least of both ends' growth that a bound is about: `{ server: 1.2, client: 0.4 }` in MB. */
export const growth = (before, after) => (after.rss - before.rss) / MB

/** The same without what V8 has reserved. */
export const nativeGrowth = (before, after) => growth(before, after) - (after.v8 - before.v8) / MB
