// No forwarder: what the load generator and its target can do.
export const start = async (_context, target) => ({ port: target, pids: [], stop: async () => {} })
