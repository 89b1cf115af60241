const drawIntervalMs = 100
const barWidth = 30
const clearLine = '\r\x1b[2K'

/** Creates a progress bar on standard error. It draws nothing if standard error is not a terminal. */
export function createProgressBar (total: number | undefined) {
  const { isTTY } = process.stderr
  let drawnAt = -Infinity

  function draw (done: number, text: string): void {
    if (!isTTY || performance.now() - drawnAt < drawIntervalMs) return
    drawnAt = performance.now()
    process.stderr.write(`${clearLine}${total ? formatBar(Math.min(1, done / total)) : ''}${text}`)
  }

  /** Clears the line for other output. */
  function clear (): void {
    if (isTTY && drawnAt > 0) process.stderr.write(clearLine)
  }

  return { draw, clear }
}

function formatBar (part: number): string {
  const filled = '#'.repeat(Math.round(part * barWidth)).padEnd(barWidth, '.')
  return `[${filled}] ${String(Math.floor(part * 100)).padStart(3)} %  `
}
