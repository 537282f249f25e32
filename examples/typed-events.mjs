// @ts-check
// Events that the compiler knows, here in JSDoc. In TypeScript: createAlknetEventTarget<Ordered | Shipped>({ stream }).
import { connect, createAlknetEventTarget, serve } from '@alkdev/alknet'

/** @typedef {import('@alkdev/alknet').TypedEvent<'ordered', { item: string, count: number }>} Ordered */
/** @typedef {import('@alkdev/alknet').TypedEvent<'shipped', { item: string }>} Shipped */
/** @typedef {import('@alkdev/alknet').AlknetEventTarget<Ordered | Shipped>} Shop */

// The platform's CustomEvent has any string for its type, so each kind of event is made in one place.
/** @param {Ordered['detail']} detail */
const ordered = (detail) => /** @type {Ordered} */ (new CustomEvent('ordered', { detail }))
/** @param {Shipped['detail']} detail */
const shipped = (detail) => /** @type {Shipped} */ (new CustomEvent('shipped', { detail }))

const server = await serve({ listen: '127.0.0.1:0', authorizedKeys: 'authorized_keys' })
server.onConnection((stream) => {
  /** @type {Shop} */
  const shop = createAlknetEventTarget({ stream })
  shop.addEventListener('ordered', ({ detail }) => {
    shop.dispatchEvent(shipped({ item: detail.item })) // `detail.items` would not compile
  })
})

const stream = await connect(server.connectionString, { identity: 'client_key' })
/** @type {Shop} */
const shop = createAlknetEventTarget({ stream })
shop.addEventListener('shipped', async ({ detail }) => {
  console.log(`${detail.item} is on its way`)
  await shop.close()
  await server.close()
})
await shop.ready('shipped')
shop.dispatchEvent(ordered({ item: 'tea', count: 2 }))
