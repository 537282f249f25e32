/** The version of this package, and so of the addon that fits it. scripts/version.mjs writes it. */
export const VERSION = '0.1.0'
