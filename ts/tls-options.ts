/**
 * What `serve()` and `connect()` are told of TLS: its version, and an authority that issues certificates.
 */
import type { AlknetServeOptions, AlknetTlsVersion } from '../index.js'
import type { NativeServeOptions } from '../native/binding.js'
import { AlknetError, invalidValue } from './errors.js'
import { defined, optionalSource, text, texts } from './options.js'

export function tlsVersion(value: AlknetTlsVersion | undefined): string | undefined {
  if (value === undefined || value === '1.2' || value === '1.3') return value
  throw invalidValue('options.tlsMin', "'1.2' or '1.3'")
}

/** Checks what is said of ACME. */
export function acme(options: AlknetServeOptions): Pick<NativeServeOptions, 'acme' | 'acmeCa'> {
  const domains = texts('options.acmeDomain', options.acmeDomain)
  const directory = text('options.acmeDirectory', options.acmeDirectory)
  const cache = text('options.acmeCache', options.acmeCache)
  const contact = text('options.acmeContact', options.acmeContact)
  const acmeCa = optionalSource('options.acmeCa', options.acmeCa)
  if (domains === undefined) {
    if (directory !== undefined || contact !== undefined || acmeCa !== undefined) {
      const message = 'options.acmeDomain is missing, without which the others mean nothing'
      throw new AlknetError('ERR_ALKNET_CONFIG', message, { phase: 'config' })
    }
    return {}
  }
  const wanted = defined<NonNullable<NativeServeOptions['acme']>>({
    domains,
    directory,
    cache,
    contact,
  })
  return acmeCa === undefined ? { acme: wanted } : { acme: wanted, acmeCa }
}
