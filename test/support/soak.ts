/**
 * How much of the bulk runs, from 0 to 1. `npm run test:soak` runs all of it, `.ci/run` a part, and
 * `npm test` only a few of the same cases.
 */
const share = Number(process.env['SOAK'] ?? 0)

export const isSoak = share > 0

/** How many runs, rows or requests a case has: `brief`, `full`, or a number between them. */
export const scale = (full: number, brief: number): number => Math.round(brief + (full - brief) * share)
