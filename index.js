// What it exports is CommonJS, so that both kinds of module have one and the same: one doorbell, one AlknetError.
export {
  AlknetError,
  connect,
  createAlknetBus,
  createAlknetEventTarget,
  forwarders,
  frameStream,
  openSession,
  openTunnel,
  serve,
} from './dist/index.js'
