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
}
