/** Finds the failed assertions in the TAP of a test file, each with its details and the subtests that it is in. */
export function failuresOf (tap: string): string {
  const shown: string[] = []
  let subtests: string[] = []
  let isInDetails = false
  for (const line of tap.split('\n')) {
    const depth = line.search(/\S/) / 4
    const [, subtest] = /^ *# Subtest: (.*)$/.exec(line) ?? []
    if (subtest !== undefined) subtests = [...subtests.slice(0, depth), subtest]
    // A subtest that failed, whose line tells the time, repeats the failures inside it.
    const isFailure = /^ *not ok \d+ - /.test(line) && !line.includes(' # time=')
    if (isFailure) shown.push(`\n  ${subtests.slice(0, depth).join(' > ')}`)
    if (/^ *((not )?ok \d+|# Subtest|\d+\.\.\d+)/.test(line)) isInDetails = isFailure
    if (isInDetails || line.startsWith('Bail out!')) shown.push(`  ${line}`)
  }
  return shown.length > 0 ? shown.join('\n') : tap
}
