// The offset is as inexact as the duration of a query.
const maxClockOffsetMs = 5_000

/** Creates a function that warns when the database's clock, minus this machine's, becomes too large. */
export function createClockCheck (
  warn: (fields: { clock_offset_seconds: number }, message: string) => void
): (offsetMs: number) => void {
  let isClockWrong = false
  return offsetMs => {
    const isWrong = Math.abs(offsetMs) > maxClockOffsetMs
    if (isWrong && !isClockWrong) {
      const clock = `the clock of this machine is ${Math.abs(Math.round(offsetMs / 1_000))} s ` +
        `${offsetMs > 0 ? 'behind' : 'ahead of'} that of the database, whose time is used; ` +
        'synchronize both with NTP'
      warn({ clock_offset_seconds: offsetMs / 1_000 }, clock)
    }
    isClockWrong = isWrong
  }
}
