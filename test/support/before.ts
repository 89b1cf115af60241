import * as testDatabase from './test-database.ts'

// The server of all test files keeps running when this process ends; after.ts stops it.
await testDatabase.start()
process.exit(0)
