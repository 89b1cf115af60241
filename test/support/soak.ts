/**
 * Whether bulk cases run in full, as in `npm run test:soak`. `npm test` runs the same cases with small
 * numbers.
 */
export const isSoak = process.env['SOAK'] === '1'

/** How many runs, rows or requests a case has: `full` in a soak test, otherwise `brief`. */
export const scale = (full: number, brief: number): number => isSoak ? full : brief
