// Two short functions need no package for tables, which all draw borders that make output hard to cut and
// grep.

/** A time in UTC for a person; a dash if there is none. */
export const formatTime = (date: Date | null): string =>
  date === null ? '-' : date.toISOString().replace(/\.\d+Z$/, 'Z')

/** Rows under their headings, in columns. */
export function formatTable (headings: string[], rows: string[][]): string {
  const widths = headings.map((heading, column) =>
    Math.max(heading.length, ...rows.map(row => row[column]?.length ?? 0)))
  const lines = [headings, ...rows].map(
    row => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')
  )
  return lines.map(line => line.trimEnd()).join('\n')
}
