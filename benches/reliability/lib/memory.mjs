// Looks for bytes in the memory of another process, as somebody with its core dump would.
import fs from 'node:fs'

const PIECE = 4 * 2 ** 20

/** How often each of `needles` (`{ name: Buffer }`) is in what the process can read: `{ name: [where, …] }`. */
export function findInMemory(pid, needles) {
  const found = Object.fromEntries(Object.keys(needles).map((name) => [name, []]))
  const longest = Math.max(...Object.values(needles).map(({ length }) => length))
  const memory = fs.openSync(`/proc/${pid}/mem`, 'r')
  try {
    for (const region of regions(pid)) {
      for (const { bytes, isLast } of pieces(memory, region, longest)) {
        for (const [name, needle] of Object.entries(needles)) {
          for (let at = bytes.indexOf(needle); at >= 0; at = bytes.indexOf(needle, at + 1)) {
            // Those in the overlap are found again with the next piece.
            if (isLast || at < PIECE) found[name].push(region.label)
          }
        }
      }
    }
  } finally {
    fs.closeSync(memory)
  }
  return found
}

function regions(pid) {
  const lines = fs.readFileSync(`/proc/${pid}/maps`, 'utf8').trim().split('\n')
  return lines.flatMap((line) => {
    const [range, mode, , , , label] = line.split(/\s+/)
    if (!mode.startsWith('r') || /^\[v(var|syscall|dso)/.test(label)) return []
    const [start, end] = range.split('-').map((part) => Number.parseInt(part, 16))
    return [{ start, end, label: label || 'anonymous' }]
  })
}

function* pieces(memory, { start, end }, overlap) {
  const buffer = Buffer.alloc(PIECE + overlap)
  for (let at = start; at < end; at += PIECE) {
    const length = Math.min(buffer.length, end - at)
    let got = 0
    try {
      got = fs.readSync(memory, buffer, 0, length, at)
    } catch {
      return // guard pages and what has gone meanwhile
    }
    yield { bytes: buffer.subarray(0, got), isLast: at + PIECE >= end }
  }
}
