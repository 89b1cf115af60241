import * as testDatabase from './test-database.ts'

await testDatabase.discard()
