import { totalmem } from 'node:os'
import { hash } from '../passwords/argon2id.ts'

export interface Cost { memoryKib: number, timeCost: number }

/** What a cost comes to on this machine: milliseconds of one hash alone, and logins a second of as many lanes as there are. */
export interface Measured extends Cost { hashMs: number, loginsPerSecond: number }

export interface Surroundings { lanes: number, parallelism: number, targetMs: number }

const cost = (memoryKib: number, timeCost: number): Cost => ({ memoryKib, timeCost })

/** Those that OWASP's Password Storage Cheat Sheet accepts, each as good as the others. */
export const owasp = [cost(47_104, 1), cost(19_456, 2), cost(12_288, 3), cost(9_216, 4), cost(7_168, 5)]
const stronger = [cost(32_768, 2), cost(47_104, 2), cost(65_536, 2), ...[64, 96, 128, 192, 256, 384, 512, 768, 1_024].map(mib => cost(mib * 1_024, 3))]

// Of a service that hashes nothing.
const atRest = 128 * 1024 ** 2

/** Bytes that this process may use: the machine's, or fewer where its control group has a limit. */
export const availableMemory = () => Math.min(totalmem(), process.constrainedMemory() || Infinity)

/** Bytes that hashing takes when all lanes do. */
export const memoryOf = ({ memoryKib }: Cost, lanes: number) => memoryKib * 1024 * lanes

/** Whether the service has room to hash at this cost in all lanes. */
export const fits = (cost: Cost, lanes: number, memory: number) => memoryOf(cost, lanes) + atRest <= memory

const work = ({ memoryKib, timeCost }: Cost) => memoryKib * timeCost

/** Measures each of OWASP's costs, and stronger ones up to the target, of those for which there is memory. */
export async function calibrate ({ lanes, parallelism, targetMs }: Surroundings, memory = availableMemory()): Promise<Measured[]> {
  const measured: Measured[] = []
  for (const cost of owasp) if (fits(cost, lanes, memory)) measured.push(await measure(cost, lanes, parallelism))
  // Work takes longer the more memory it is in: the slowest of the small ones says how far it is safe to go, and that how much further.
  let pace = Math.max(...measured.map(each => each.hashMs / work(each)))
  let left = stronger.filter(cost => fits(cost, lanes, memory))
  for (;;) {
    const next = left.findLast(cost => work(cost) * pace <= targetMs)
    if (!next) return measured
    const latest = await measure(next, lanes, parallelism)
    measured.push(latest)
    pace = latest.hashMs / work(latest)
    left = left.slice(left.indexOf(next) + 1)
  }
}

/** The strongest that keeps to the target; where none does, the fastest. None of nothing. */
export function recommend (measured: Measured[], targetMs: number): Measured | undefined {
  const within = measured.filter(({ hashMs }) => hashMs <= targetMs)
  const best = (better: (one: Measured, other: Measured) => boolean) => (one: Measured, other: Measured) => better(other, one) ? other : one
  if (within.length > 0) return within.reduce(best((one, other) => work(one) > work(other)))
  return measured.length > 0 ? measured.reduce(best((one, other) => one.hashMs < other.hashMs)) : undefined
}

async function measure (cost: Cost, lanes: number, parallelism: number): Promise<Measured> {
  const once = async () => { await hash('correct horse battery', { ...cost, parallelism }) }
  const alone = (await times(250, once)).sort((one, other) => one - other)
  const together = await Promise.all(Array.from({ length: lanes }, async () => await times(500, once)))
  return {
    ...cost,
    // What the machine does beside it only ever adds to it.
    hashMs: alone[alone.length >> 2] ?? NaN,
    loginsPerSecond: together.reduce((rate, lane) => rate + lane.length * 1_000 / lane.reduce((sum, time) => sum + time, 0), 0)
  }
}

/** How many milliseconds something takes, again and again for so many, and at least once. */
async function times (milliseconds: number, once: () => Promise<void>): Promise<number[]> {
  const found: number[] = []
  const from = performance.now()
  for (let before = from; before === from || before < from + milliseconds;) {
    await once()
    const now = performance.now()
    found.push(now - before)
    before = now
  }
  return found
}
