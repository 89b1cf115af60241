import { open } from 'node:fs/promises'
import type { RejectedLine } from '../transfer/import.ts'

/** Receives the lines that an import refuses. */
export interface RefusedLines {
  add: (refusal: RejectedLine) => Promise<void>
  end: () => Promise<void>
}

const maxPrinted = 100
const bufferLength = 65_536

/** Prints the first refused lines to standard error. Calls `beforePrint` before each of them. */
export function printRefusals (beforePrint: () => void): RefusedLines {
  let count = 0
  return {
    async add ({ line, reason, pointer, detail, email }) {
      count++
      if (count > maxPrinted) return
      beforePrint()
      const place = pointer === '' ? 'it' : pointer.slice(1)
      const cause = email === undefined ? reason : `${reason}: ${email}`
      process.stderr.write(`line ${line}: ${place} ${detail} (${cause})\n`)
    },
    async end () {
      if (count <= maxPrinted) return
      process.stderr.write(`and ${count - maxPrinted} more: use --report FILE for all of them\n`)
    }
  }
}

/** Writes all refused lines to a file as JSON Lines. Only its owner can read it, because it names people. */
export async function writeRefusals (path: string): Promise<RefusedLines> {
  const file = await open(path, 'w', 0o600)
  let buffer = ''
  const flush = async () => {
    await file.appendFile(buffer)
    buffer = ''
  }
  return {
    async add (refusal) {
      buffer += `${JSON.stringify(refusal)}\n`
      if (buffer.length > bufferLength) await flush()
    },
    async end () {
      await flush()
      await file.close()
    }
  }
}
