import { totalmem } from 'node:os'
import { hash } from '../passwords/argon2id.ts'

export interface Argon2Cost { memoryKib: number, timeCost: number }

/** A cost as measured on this machine. `loginsPerSecond` is the rate with all concurrent hashes together. */
export interface CostMeasurement extends Argon2Cost { hashMs: number, loginsPerSecond: number }

/** `targetMs` is the longest that one hash may take. */
export interface CalibrationOptions { concurrency: number, parallelism: number, targetMs: number }

const cost = (memoryKib: number, timeCost: number): Argon2Cost => ({ memoryKib, timeCost })

/** The costs that OWASP's Password Storage Cheat Sheet accepts; it rates all of them equal. */
export const owaspCosts = [cost(47_104, 1), cost(19_456, 2), cost(12_288, 3), cost(9_216, 4), cost(7_168, 5)]
const largeMib = [64, 96, 128, 192, 256, 384, 512, 768, 1_024]
// In order of work. RFC 9106 section 4 recommends 64 MiB with 3 passes if memory is scarce.
const strongerCosts = [
  cost(32_768, 2), cost(47_104, 2), cost(65_536, 2), ...largeMib.map(mib => cost(mib * 1_024, 3))
]

// What the service takes without hashing.
const baseMemoryBytes = 128 * 1024 ** 2

/**
 * Returns the bytes that this process may use: the machine's memory, or its control group's limit if smaller.
 */
export const availableMemory = () => Math.min(totalmem(), process.constrainedMemory() || Infinity)

/** Returns the bytes that `concurrency` hashes take together. */
export const hashingMemoryBytes = ({ memoryKib }: Argon2Cost, concurrency: number) =>
  memoryKib * 1024 * concurrency

/** Returns whether `memoryBytes` are enough for the service with `concurrency` hashes at a time. */
export const fitsInMemory = (cost: Argon2Cost, concurrency: number, memoryBytes: number) =>
  hashingMemoryBytes(cost, concurrency) + baseMemoryBytes <= memoryBytes

const workOf = ({ memoryKib, timeCost }: Argon2Cost) => memoryKib * timeCost

/**
 * Measures each of OWASP's costs, and stronger ones up to the target. Skips costs that do not fit in memory.
 */
export async function calibrate (
  options: CalibrationOptions, memoryBytes = availableMemory()
): Promise<CostMeasurement[]> {
  const fits = (cost: Argon2Cost) => fitsInMemory(cost, options.concurrency, memoryBytes)
  const measurements: CostMeasurement[] = []
  for (const cost of owaspCosts.filter(fits)) measurements.push(await measureCost(cost, options))
  // The same work takes longer in more memory. So the slowest small cost tells how far the first step may go,
  // and each measured step tells how far the next one may go.
  let msPerWork = Math.max(...measurements.map(each => each.hashMs / workOf(each)))
  let remaining = strongerCosts.filter(fits)
  for (;;) {
    const next = remaining.findLast(cost => workOf(cost) * msPerWork <= options.targetMs)
    if (!next) return measurements
    const measurement = await measureCost(next, options)
    measurements.push(measurement)
    msPerWork = measurement.hashMs / workOf(measurement)
    remaining = remaining.slice(remaining.indexOf(next) + 1)
  }
}

/** Returns the strongest cost within the target, else the fastest; undefined if there are no measurements. */
export function recommend (measurements: CostMeasurement[], targetMs: number): CostMeasurement | undefined {
  const strongestFirst = measurements
    .filter(({ hashMs }) => hashMs <= targetMs)
    .sort((one, other) => workOf(other) - workOf(one))
  return strongestFirst[0] ?? [...measurements].sort((one, other) => one.hashMs - other.hashMs)[0]
}

async function measureCost (
  cost: Argon2Cost, { concurrency, parallelism }: CalibrationOptions
): Promise<CostMeasurement> {
  const hashOnce = async () => { await hash('correct horse battery', { ...cost, parallelism }) }
  const alone = (await repeatFor(250, hashOnce)).sort((one, other) => one - other)
  const together = await Promise.all(
    Array.from({ length: concurrency }, async () => await repeatFor(500, hashOnce))
  )
  const rates = together.map(times => times.length * 1_000 / times.reduce((sum, time) => sum + time, 0))
  return {
    ...cost,
    // The first quartile, because other processes only ever add to the time.
    hashMs: alone[alone.length >> 2] ?? NaN,
    loginsPerSecond: rates.reduce((sum, rate) => sum + rate, 0)
  }
}

/** Repeats work for `durationMs`, at least once, and returns the milliseconds of each run. */
async function repeatFor (durationMs: number, work: () => Promise<void>): Promise<number[]> {
  const times: number[] = []
  const startedAt = performance.now()
  for (let previous = startedAt; previous === startedAt || previous < startedAt + durationMs;) {
    await work()
    const now = performance.now()
    times.push(now - previous)
    previous = now
  }
  return times
}
