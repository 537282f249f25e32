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
      atMost: 450,
      reason:
        'russh 0.65.1 keeps a queue of 4 KB for each channel whose first CHANNEL_CLOSE this side sends, until the session ends: the peer’s answer is for a channel it has forgotten, and only that answer would remove the queue (its client/encrypted.rs and server/encrypted.rs, CHANNEL_CLOSE). One side has to be first; a server leaves that to its clients',
    },
  },
}
