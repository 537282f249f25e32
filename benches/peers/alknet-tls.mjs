// As alknet.mjs, in TLS.
import { over } from '../lib/alknet-transport.mjs'

export const { listen, openSession } = over('tls', {
  serve: ({ certificate, certificateKey }) => ({ tlsCert: certificate, tlsKey: certificateKey }),
  connect: ({ certificate }) => ({ tlsCa: certificate, tlsServerName: 'localhost' }),
})
