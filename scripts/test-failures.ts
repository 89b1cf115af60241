import { existsSync, readFileSync } from 'node:fs'
import { SourceMap } from 'node:module'
import { relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

/**
 * Counts the assertions in the TAP of a test file. A subtest, whose line tells the time, counts only if it
 * failed without a failed assertion.
 */
export function countAssertions (tap: string): { passed: number, failed: number } {
  const points = tap.split('\n').filter(line => /^ *(not )?ok \d+/.test(line) && !/ # (SKIP|TODO)/.test(line))
  const [failures, successes] = [points.filter(isFailed), points.filter(line => !isFailed(line))]
  const assertions = (lines: string[]) => lines.filter(line => !line.includes(' # time=')).length
  return { passed: assertions(successes), failed: assertions(failures) || Number(failures.length > 0) }
}

const isFailed = (line: string): boolean => /^ *not /.test(line)

/**
 * Finds the failed assertions in the TAP of a test file, each with its details and its subtests. Positions
 * in compiled files are replaced by those in their source.
 */
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
  return nameSourceLines(shown.length > 0 ? shown.join('\n') : tap)
}

/** Replaces positions in compiled files. Node.js can do so (`--enable-source-maps`), but slows assertions. */
function nameSourceLines (text: string): string {
  const maps = new Map<string, SourceMap | undefined>()
  return text.replace(/\b(dist\/[\w/.-]+\.js):(\d+):(\d+)/g, (place, ...groups: string[]) => {
    const [file = '', line, column] = groups
    if (!maps.has(file)) maps.set(file, readSourceMap(file))
    const origin = maps.get(file)?.findOrigin(Number(line), Number(column))
    if (!origin || !('fileName' in origin)) return place
    const source = fileURLToPath(new URL(origin.fileName, pathToFileURL(file)))
    return `${relative('.', source)}:${origin.lineNumber}:${origin.columnNumber}`
  })
}

function readSourceMap (file: string): SourceMap | undefined {
  const map = `${file}.map`
  return existsSync(map) ? new SourceMap(JSON.parse(readFileSync(map, 'utf8'))) : undefined
}
