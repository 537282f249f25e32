const silence =
  'at the limit: 15 s of silence and three questions, the last of which has its 15 s too, as in OpenSSH'
const linger =
  'four times the interval, and one second in which the client still waits for the other end to close as well (src/ssh/elastic.rs, CLOSE_LIMIT)'

// Limits that are missed, and why. Each has a bound of its own, so that it cannot get worse unseen.
export const known = {
  r2: {
    'server growth': {
      atMost: 10,
      reason:
        'it is at the limit, and levels off: as many sessions again add next to nothing. What is kept are the allocator’s pages and what garbage in JavaScript still refers to',
    },
  },
  r4: {
    'client growth': {
      atMost: 24,
      reason:
        'russh 0.65.1 keeps a queue of 4 KB for each channel whose first CHANNEL_CLOSE this side sends, until the session ends. After 512 streams a fresh session takes over, so what is kept is that of the two or three sessions there are at a time, and does not grow',
    },
  },
  r7: {
    'silent streams': { atMost: 61, reason: silence },
    'silent listener': { atMost: 61, reason: silence },
  },
  r8: {
    'keepalive 1 s × 3 client': { atMost: 5.5, reason: linger },
    'keepalive 15 s × 3 client': { atMost: 61.5, reason: linger },
    'keepalive 15 s × 3 server': { atMost: 61, reason: silence },
  },
}
