/** Takes down, in reverse order, what a benchmark has set up. */
export interface Teardown { teardown: (handler: () => unknown) => void }

/** A promise of the README, and what was measured of it; `undefined` where it cannot be measured here. */
export interface Finding {
  name: string
  measured: number | undefined
  bound: number
  /** Whether the bound is the least or the most that is allowed. */
  is: 'least' | 'most'
  unit: string
  digits: number
}

export interface Report {
  findings: Finding[]
  /** The raw figures, a line each. */
  notes: string[]
}

export type Benchmark = (t: Teardown) => Promise<Report>
