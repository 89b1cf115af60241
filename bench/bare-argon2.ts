import { availableParallelism } from 'node:os'
import argon2 from 'argon2'
import { answer } from './bare.ts'
import { throughput } from './throughput.ts'

// The service's defaults.
const hash = await argon2.hash('correct horse battery', { type: argon2.argon2id, memoryCost: 19456, timeCost: 2, parallelism: 1 })

/** Verifications a second, as many at a time as there are cores. */
answer<{ seconds: number }>(({ seconds }) => throughput(availableParallelism(), seconds, () => argon2.verify(hash, 'correct horse battery')))
