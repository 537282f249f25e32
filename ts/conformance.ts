/**
 * Makes `tsc` fail when the implementation lacks, changes or adds an export of the contract (index.d.ts), or when CommonJS
 * is promised something else (index.d.cts).
 */
import type * as commonjs from '../index.cjs'
import type * as contract from '../index.js'
import type * as implementation from './index.js'

type Is<A, B> = A extends B ? (keyof A extends keyof B ? true : never) : never

export const implemented: Is<typeof implementation, typeof contract> = true
export const promised: Is<typeof contract, typeof implementation> = true
// What a module of the one kind sees of one of the other has a `default` besides.
type CommonJs = Omit<typeof commonjs, 'default'>

export const sameInCommonJs: [Is<CommonJs, typeof contract>, Is<typeof contract, CommonJs>] = [
  true,
  true,
]
