// What a process costs, seen from inside.
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** CPU time in ms of this process (all its threads) and of `pids`; resident bytes of this and of those, and what V8 holds; open descriptors. */
export async function probe({ gc = false, pids = [] } = {}) {
  if (gc) await collect()
  const { user, system } = process.cpuUsage()
  const others = pids.reduce((sum, pid) => sum + cpuOf(pid), 0)
  const { rss, heapTotal } = process.memoryUsage()
  const othersRss = pids.reduce((sum, pid) => sum + rssOf(pid), 0)
  return { cpu: (user + system) / 1000 + others, rss, othersRss, heapTotal, fds: fdCount() }
}

async function collect() {
  for (let turn = 0; turn < 4; turn++) {
    await sleep(25)
    globalThis.gc()
  }
}

function fdCount() {
  return fs.readdirSync('/proc/self/fd').length - 1 // less the one that reads the directory
}

/** Resident bytes of a process. */
function rssOf(pid) {
  const [, kibibytes] = /^VmRSS:\s+(\d+) kB$/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(kibibytes) * 1024
}

/** CPU time in ms of the children of a process that have ended and were waited for (proc_pid_stat(5): cutime and cstime). */
export function cpuOfEnded(pid) {
  const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  const tick = 10 // ms; USER_HZ is 100 on every Linux that Node runs on
  return (Number(fields[13]) + Number(fields[14])) * tick
}

/** CPU time of a process so far, in ms. */
export function cpuOf(pid) {
  const tasks = fs.readdirSync(`/proc/${pid}/task`)
  return tasks.reduce((sum, task) => {
    const [nanoseconds] = fs.readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')
    return sum + Number(nanoseconds) / 1e6
  }, 0)
}
