// Two short functions need no package for tables, which all draw borders that make output hard to cut and grep.

/** A time as a person reads it, in UTC; a dash for none. */
export const time = (date: Date | null) => date === null ? '-' : date.toISOString().replace(/\.\d+Z$/, 'Z')

/** Rows under their headings, in columns. */
export function table (headings: string[], rows: string[][]): string {
  const widths = headings.map((heading, column) => Math.max(heading.length, ...rows.map(row => row[column]?.length ?? 0)))
  return [headings, ...rows].map(row => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ').trimEnd()).join('\n')
}
