/**
 * Tells objects what became ready in the core. One `Doorbell` per JS environment serves them all.
 *
 * Who holds a listener: pending operations, sessions and servers are held from here until they are over. A stream is held only
 * while something of it is under way: a read that waits for bytes, a write, an `end()`, a `destroy()`. So a stream with a
 * `'data'` listener lives without any other reference, and one that nobody reads, writes or refers to may be collected, which
 * closes its channel.
 */
import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks'
import type { Doorbell } from '../native/binding.js'

export type { Doorbell }

import { KeepAlive } from './keep-alive.js'
import { native } from './native.js'

/** Reads, accepts or takes would give something. */
export const READABLE = 1
/** A write that was not accepted in full can go on. */
export const WRITABLE = 2
/** All that was written, and the end, was handed on. */
export const FINISHED = 4
/** The object is over. Comes once, and last. */
export const CLOSED = 8
/** Of a server: how its relay stands has changed. */
export const CHANGED = 16

type Listener = (mask: number) => void

const slots = new Map<number, Slot>()
const abandoned = new FinalizationRegistry<Slot>((slot) => slot.remove())
// The bell lives as long as the program and would keep the async context of whoever came first.
const inRootContext = AsyncLocalStorage.snapshot()
let bell: Doorbell | undefined

/** The doorbell of this JS environment, made at the first call. */
export function doorbell(): Doorbell {
  bell ??= inRootContext(() => new (native().Doorbell)(ring))
  return bell
}

/**
 * An object's place at the doorbell and in keeping the process alive, until `remove()`. Its listener runs in the async context
 * that the slot was made in, as the events of a `net.Socket` do.
 */
export class Slot {
  readonly keepAlive = new KeepAlive()
  readonly #id: number
  readonly #scope = new AsyncResource('Alknet')
  #held: Listener | undefined
  #loose: WeakRef<Listener> | undefined
  #removed = false
  #closing: Promise<void> | undefined
  #whenRemoved: (() => void) | undefined

  constructor(id: number, listener: Listener) {
    this.#id = id
    this.#held = listener
    slots.set(id, this)
  }

  tell(mask: number): void {
    const listener = this.#held ?? this.#loose?.deref()
    if (listener !== undefined) this.#scope.runInAsyncScope(listener, undefined, mask)
  }

  /** Does in the listener's context what is not the bell's doing. */
  run(act: () => void): void {
    this.#scope.runInAsyncScope(act)
  }

  hold(): void {
    this.#held ??= this.#loose?.deref()
  }

  /** Lets the listener be collected; its owner must refer to it. */
  loosen(): void {
    if (this.#held === undefined) return
    this.#loose ??= new WeakRef(this.#held)
    this.#held = undefined
  }

  /** Removes the slot when `owner` has been collected. */
  removeAfter(owner: object): void {
    abandoned.register(owner, this, this)
  }

  /** Has `begin` close the object, once. Resolves when the slot is removed, at once if it was. */
  close(begin: () => void): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      if (this.#removed) return resolve()
      this.#whenRemoved = resolve
      // Closing is work under way, which an `unref()` earlier was not about.
      this.keepAlive.ref()
      begin()
    })
    return this.#closing
  }

  /** Whether `close()` was called. */
  get closing(): boolean {
    return this.#closing !== undefined
  }

  /** Whether the object is over. */
  get removed(): boolean {
    return this.#removed
  }

  remove(): void {
    this.#removed = true
    slots.delete(this.#id)
    abandoned.unregister(this)
    this.keepAlive.end()
    this.#held = undefined
    this.#whenRemoved?.()
  }
}

function ring(): void {
  if (bell !== undefined) dispatch(bell.take(), 0)
}

function dispatch(ready: readonly number[], from: number): void {
  let at = from
  try {
    for (; at < ready.length; at += 2) {
      slots.get(ready[at] ?? 0)?.tell(ready[at + 1] ?? 0)
    }
  } finally {
    // A listener threw: that is its caller's to see, but the others must be told all the same.
    if (at < ready.length) setImmediate(dispatch, ready, at + 2)
  }
}
