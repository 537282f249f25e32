// Messages behind a 4-byte big-endian length: the least that turns a byte stream into messages.
const HEADER = 4

export function encodeFrame(text) {
  const size = Buffer.byteLength(text)
  const frame = Buffer.allocUnsafe(HEADER + size)
  frame.writeUInt32BE(size)
  frame.write(text, HEADER)
  return frame
}

/** Calls `onFrame` with the text of each frame that comes on `stream`. */
export function readFrames(stream, onFrame) {
  let rest
  stream.on('data', (chunk) => {
    const bytes = rest ? Buffer.concat([rest, chunk]) : chunk
    let at = 0
    while (bytes.length - at >= HEADER) {
      const end = at + HEADER + bytes.readUInt32BE(at)
      if (end > bytes.length) break
      onFrame(bytes.utf8Slice(at + HEADER, end))
      at = end
    }
    rest = at < bytes.length ? bytes.subarray(at) : undefined
  })
}
