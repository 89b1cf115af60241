import { open } from 'node:fs/promises'
import type { RejectedLine } from '../transfer/import.ts'

export interface RefusedLines {
  add: (refusal: RejectedLine) => Promise<void>
  end: () => Promise<void>
}

const mostShown = 100

/** Tells the first refused lines on standard error, each after `before` was called. */
export function shown (before: () => void): RefusedLines {
  let count = 0
  return {
    async add ({ line, reason, pointer, detail, email }) {
      count++
      if (count > mostShown) return
      before()
      process.stderr.write(`line ${line}: ${pointer === '' ? 'it' : pointer.slice(1)} ${detail} (${reason}${email === undefined ? '' : `: ${email}`})\n`)
    },
    async end () {
      if (count > mostShown) process.stderr.write(`and ${count - mostShown} more: --report FILE takes all of them\n`)
    }
  }
}

/** Writes all of them into a file, as lines of JSON; for its owner alone, as they name people. */
export async function reported (path: string): Promise<RefusedLines> {
  const file = await open(path, 'w', 0o600)
  let held = ''
  const write = async () => {
    await file.appendFile(held)
    held = ''
  }
  return {
    async add (refusal) {
      held += `${JSON.stringify(refusal)}\n`
      if (held.length > 65_536) await write()
    },
    async end () {
      await write()
      await file.close()
    }
  }
}
