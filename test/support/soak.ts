/**
 * The size of bulk tests, from 0 to 1. `npm run test:soak` runs them in full, `.ci/run` at a fifth, and
 * `npm test` at the smallest size.
 */
const share = Number(process.env['SOAK'] ?? 0)

export const isSoak = share > 0

/** How many runs, rows or requests a case has: `brief`, `full`, or a number between them. */
export const scale = (full: number, brief: number): number => Math.round(brief + (full - brief) * share)
