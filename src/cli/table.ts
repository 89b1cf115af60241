// The packages for tables draw borders, which make the output hard to cut and grep.

/** Formats a time in UTC, or a dash for null. */
export const formatTime = (date: Date | null): string =>
  date === null ? '-' : date.toISOString().replace(/\.\d+Z$/, 'Z')

/** Formats headings and rows in columns. */
export function formatTable (headings: string[], rows: string[][]): string {
  const widths = headings.map((heading, column) =>
    Math.max(heading.length, ...rows.map(row => row[column]?.length ?? 0)))
  const lines = [headings, ...rows].map(
    row => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')
  )
  return lines.map(line => line.trimEnd()).join('\n')
}
