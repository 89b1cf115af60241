import { availableParallelism } from 'node:os'
import { loadArgon2, type Argon2BuildSetting } from '../src/passwords/argon2-build.ts'
import { answer } from './baseline.ts'
import { measureRate } from './throughput.ts'

const { argon2 } = await loadArgon2((process.argv[2] ?? 'auto') as Argon2BuildSetting)
// The service's defaults.
const hash = await argon2.hash('correct horse battery', {
  type: argon2.argon2id,
  memoryCost: 19456,
  timeCost: 2,
  parallelism: 1
})

/** Returns argon2id verifications per second, one on each core, with the build that the argument names. */
answer<{ seconds: number }>(({ seconds }) =>
  measureRate(availableParallelism(), seconds, () => argon2.verify(hash, 'correct horse battery'))
)
