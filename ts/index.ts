/** Everything public, and nothing else: conformance.ts compares it with index.d.ts. */
export { connect } from './connect.js'
export { AlknetError } from './errors.js'
export { createAlknetEventTarget } from './event-target.js'
export { forwarders } from './forwarders.js'
export { frameStream } from './frame.js'
export { serve } from './serve.js'
export { openSession } from './session.js'
export { openTunnel } from './tunnel.js'
