/**
 * The size of bulk tests, from 0 to 1. `npm run test:soak` runs them in full, `.ci/run` at a fifth, and
 * `npm test` at the smallest size.
 */
const share = Number(process.env['SOAK'] ?? 0)

export const isSoak = share > 0

/**
 * The options of a case that needs seconds of the processor, because it hashes at real costs or starts many
 * programs. `npm run test:soak` and `.ci/run` run it, and `npm test` does not.
 */
export const onlyInSoak = { skip: !isSoak && 'npm run test:soak runs it' }

/** How many runs, rows or requests a case has: `brief`, `full`, or a number between them. */
export const scale = (full: number, brief: number): number => Math.round(brief + (full - brief) * share)
