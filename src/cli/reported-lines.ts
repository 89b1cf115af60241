import { open } from 'node:fs/promises'
import type { ReportedLine } from '../transfer/import.ts'

/** Receives what an import refuses or leaves out. */
export interface ReportedLines {
  add: (reported: ReportedLine) => Promise<void>
  end: () => Promise<void>
}

const maxPrinted = 100
const bufferLength = 65_536

/** Prints the first of them to standard error. Calls `beforePrint` before each of them. */
export function printReport (beforePrint: () => void): ReportedLines {
  let count = 0
  return {
    async add ({ line, reason, pointer, detail, email, left_out: isLeftOut = false }) {
      count++
      if (count > maxPrinted) return
      beforePrint()
      const place = pointer === '' ? 'it' : pointer.slice(1)
      const cause = email === undefined ? reason : `${reason}: ${email}`
      const consequence = isLeftOut ? '; imported without it' : ''
      process.stderr.write(`line ${line}: ${place} ${detail} (${cause})${consequence}\n`)
    },
    async end () {
      if (count <= maxPrinted) return
      process.stderr.write(`and ${count - maxPrinted} more: use --report FILE for all of them\n`)
    }
  }
}

/** Writes all of them to a file as JSON Lines. Only its owner can read it, because it names people. */
export async function writeReport (path: string): Promise<ReportedLines> {
  const file = await open(path, 'w', 0o600)
  let buffer = ''
  const flush = async () => {
    await file.appendFile(buffer)
    buffer = ''
  }
  return {
    async add (reported) {
      buffer += `${JSON.stringify(reported)}\n`
      if (buffer.length > bufferLength) await flush()
    },
    async end () {
      await flush()
      await file.close()
    }
  }
}
