/** How far a work is, in one line of the terminal that standard error is; nothing where it is none. */
export function progress (total: number | undefined) {
  const stderr = process.stderr
  let drawn = -Infinity
  const draw = (done: number, text: string) => {
    if (!stderr.isTTY || performance.now() - drawn < 100) return
    drawn = performance.now()
    const part = total ? Math.min(1, done / total) : undefined
    const bar = part === undefined ? '' : `[${'#'.repeat(Math.round(part * 30)).padEnd(30, '.')}] ${String(Math.floor(part * 100)).padStart(3)} %  `
    stderr.write(`\r\x1b[2K${bar}${text}`)
  }
  /** Leaves the line empty for what is told next. */
  const clear = () => { if (stderr.isTTY && drawn > 0) stderr.write('\r\x1b[2K') }
  return { draw, clear }
}
