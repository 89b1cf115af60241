const rampUpMs = 200

/** Runs `work` in concurrent loops, and returns how often it is done per second. */
export async function measureRate (
  loops: number,
  seconds: number,
  work: (loop: number) => Promise<unknown>
): Promise<number> {
  // The first moments do not count, because the queues are not full yet.
  const from = performance.now() + rampUpMs
  const until = from + seconds * 1_000
  let done = 0
  await Promise.all(
    Array.from({ length: loops }, async (_, loop) => {
      for (let now = performance.now(); now < until;) {
        await work(loop)
        now = performance.now()
        if (now >= from && now < until) done++
      }
    })
  )
  return done / seconds
}

/** The rates of the service and of its baseline, and the ratio of both, for each round. */
export interface Comparison { rates: number[], baselineRates: number[], ratios: number[] }

type MeasureRate = (seconds: number) => Promise<number>
interface Rounds { rounds: number, seconds: number, warmUp: number }

/**
 * Measures the rates of the service and its baseline in turn. The rounds are short, so that other processes
 * slow down both. `seconds` is the length of a round, `warmUp` that of a first round that does not count.
 */
export async function compare (
  { rounds, seconds, warmUp }: Rounds, measureService: MeasureRate, measureBaseline: MeasureRate
): Promise<Comparison> {
  const comparison: Comparison = { rates: [], baselineRates: [], ratios: [] }
  await measureService(warmUp)
  await measureBaseline(warmUp)
  for (let round = 0; round < rounds; round++) {
    const [rate, baselineRate] = [await measureService(seconds), await measureBaseline(seconds)]
    comparison.rates.push(rate)
    comparison.baselineRates.push(baselineRate)
    comparison.ratios.push(rate / baselineRate)
  }
  return comparison
}

/** Returns the median. */
export function median (values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other)
  const middle = (sorted.length - 1) / 2
  return ((sorted[Math.floor(middle)] ?? NaN) + (sorted[Math.ceil(middle)] ?? NaN)) / 2
}

/** Returns the quartiles as text. A wide range means that other processes disturbed the measurement. */
export function formatSpread (values: readonly number[], digits: number): string {
  const sorted = [...values].sort((one, other) => one - other)
  const at = (share: number) => (sorted[Math.round((sorted.length - 1) * share)] ?? NaN).toFixed(digits)
  return `${at(0.25)} to ${at(0.75)}`
}
