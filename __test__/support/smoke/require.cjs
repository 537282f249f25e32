const alknet = require('@alkdev/alknet')
const suite = require('./suite.cjs')

suite(alknet, process.cwd()).then(
  () => console.log('all is well'),
  (error) => {
    console.error(error)
    process.exitCode = 1
  },
)
