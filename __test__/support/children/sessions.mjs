/** Opens as many sessions at once as argument 1 says, with the options in argument 2 (JSON), and tells the code of each, or null. */
import { openSession } from '../../../index.js'

const [count, options] = process.argv.slice(2)
const attempt = async () => {
  try {
    const session = await openSession(JSON.parse(options))
    await session.close()
    return null
  } catch (error) {
    return error.code ?? String(error)
  }
}
console.log(JSON.stringify(await Promise.all(Array.from({ length: Number(count) }, attempt))))
