import type { Teardown } from '../test/support/teardown.ts'

/** A promised figure, and its measured value; `undefined` if it cannot be measured on this machine. */
export interface Measurement {
  /** What is measured, and what it is compared with. */
  name: string
  measured: number | undefined
  bound: number
  /** Whether the bound is the smallest or the largest value allowed. */
  limit: 'minimum' | 'maximum'
  unit: string
  digits: number
}

export interface Report {
  findings: Measurement[]
  /** The absolute figures, one line each. */
  notes: string[]
}

export type Benchmark = (t: Teardown) => Promise<Report>
