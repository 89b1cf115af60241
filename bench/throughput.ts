/** How often a second `work` is done by so many loops side by side; they are at rest again when this is fulfilled. */
export async function throughput (loops: number, seconds: number, work: (loop: number) => Promise<unknown>): Promise<number> {
  // Not counted from the first moment on, but when the queues are as full as they stay.
  const from = performance.now() + 200
  const until = from + seconds * 1_000
  let done = 0
  await Promise.all(Array.from({ length: loops }, async (_, loop) => {
    for (let now = performance.now(); now < until;) {
      await work(loop)
      now = performance.now()
      if (now >= from && now < until) done++
    }
  }))
  return done / seconds
}

/** The rates of the two sides, and ours divided by theirs, by round. */
export interface Comparison { ours: number[], theirs: number[], ratios: number[] }

/**
 * Measures two rates in turn, in rounds so short that what else the machine does meets both. `warmUp` is the
 * seconds that each side is given before.
 */
export async function compare ({ rounds, seconds, warmUp }: { rounds: number, seconds: number, warmUp: number }, ours: (seconds: number) => Promise<number>, theirs: (seconds: number) => Promise<number>): Promise<Comparison> {
  const comparison: Comparison = { ours: [], theirs: [], ratios: [] }
  await ours(warmUp)
  await theirs(warmUp)
  for (let round = 0; round < rounds; round++) {
    const [one, other] = [await ours(seconds), await theirs(seconds)]
    comparison.ours.push(one)
    comparison.theirs.push(other)
    comparison.ratios.push(one / other)
  }
  return comparison
}

/** The middle one, or the mean of the two in the middle. */
export function median (values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other)
  const middle = (sorted.length - 1) / 2
  return ((sorted[Math.floor(middle)] ?? NaN) + (sorted[Math.ceil(middle)] ?? NaN)) / 2
}

/** From which to which value the middle half goes: how much the machine was disturbed. */
export function spread (values: readonly number[], digits: number): string {
  const sorted = [...values].sort((one, other) => one - other)
  const at = (share: number) => (sorted[Math.round((sorted.length - 1) * share)] ?? NaN).toFixed(digits)
  return `${at(0.25)} to ${at(0.75)}`
}
