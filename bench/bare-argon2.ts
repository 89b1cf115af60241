import { availableParallelism } from 'node:os'
import { loadArgon2, type Argon2BuildSetting } from '../src/passwords/argon2-build.ts'
import { answer } from './bare.ts'
import { throughput } from './throughput.ts'

const { argon2 } = await loadArgon2((process.argv[2] ?? 'auto') as Argon2BuildSetting)
// The service's defaults.
const hash = await argon2.hash('correct horse battery', { type: argon2.argon2id, memoryCost: 19456, timeCost: 2, parallelism: 1 })

/** Verifications a second by the build of argon2 that is named, as many at a time as there are cores. */
answer<{ seconds: number }>(({ seconds }) => throughput(availableParallelism(), seconds, () => argon2.verify(hash, 'correct horse battery')))
