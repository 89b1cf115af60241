import { randomUUID } from 'node:crypto'
import { createReadStream, existsSync } from 'node:fs'
import { link, open, stat, unlink } from 'node:fs/promises'
import { defineCommand, UsageError } from './command.ts'
import { withDatabase } from './database.ts'
import { createProgressBar } from './progress.ts'
import { printReport, writeReport } from './reported-lines.ts'

const chunkBytes = 262_144

async function sizeOf (path: string): Promise<number> {
  const stats = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'ENOENT' ? new Error(`The file ${path} does not exist.`) : error
  })
  return stats.size
}

export const importAll = defineCommand({
  usage: 'latchkey users import FILE.jsonl [--dry-run] [--without-unknown-hashes] [--report FILE] [--json]',
  description: 'Import accounts from JSON Lines. Existing accounts are left unchanged, so an interrupted ' +
    'import can be rerun.',
  operands: [{ value: 'FILE.jsonl', description: 'a file, or - for standard input' }],
  options: {
    'dry-run': { type: 'boolean', description: 'validate the lines without changing anything' },
    'without-unknown-hashes': {
      type: 'boolean',
      description: 'import an account without its password if its hash cannot be verified'
    },
    report: {
      type: 'string',
      value: 'FILE',
      description: 'write the refused lines and what was left out to this file, as JSON Lines'
    }
  },
  plan: (options, [path = '-']) => async config => {
    const { 'dry-run': dryRun = false, report } = options
    const { 'without-unknown-hashes': withoutUnknownHashes = false } = options
    const { importLines } = await import('../transfer/import.ts')
    const bar = createProgressBar(path === '-' ? undefined : await sizeOf(path))
    const reportedLines = report === undefined ? printReport(bar.clear) : await writeReport(report)
    let bytesRead = 0
    async function * chunks () {
      const source = path === '-' ? process.stdin : createReadStream(path, { highWaterMark: chunkBytes })
      for await (const chunk of source) {
        bytesRead += chunk.length
        yield Buffer.from(chunk)
      }
    }
    const counts = await withDatabase(config, async db => await importLines(db, chunks(), {
      argon2: config.passwords,
      withoutUnknownHashes,
      dryRun,
      onReport: reportedLines.add,
      onProgress: ({ imported, already_there: existing, refused }) =>
        bar.draw(bytesRead, `${imported} imported, ${existing} already there, ${refused} refused`)
    }, {})).finally(async () => {
      bar.clear()
      await reportedLines.end()
    })
    const format = (reasons: Partial<Record<string, number>>) =>
      Object.entries(reasons).map(([reason, count]) => `\n  ${reason}: ${count}`)
    const [reasons, leftOut] = [format(counts.reasons), format(counts.left_out)]
    const summary = `${counts.imported}, already there ${counts.already_there}, refused ${counts.refused}`
    const result = dryRun
      ? `Nothing was changed. An import would give: imported ${summary}`
      : `Imported ${summary}`
    return {
      text: `${result}${reasons.length > 0 ? ':' : '.'}${reasons.join('')}` +
        (leftOut.length > 0 ? `\nImported without a value:${leftOut.join('')}` : ''),
      data: { ...counts, dry_run: dryRun },
      code: counts.refused > 0 ? 1 : 0
    }
  }
})

export const exportAll = defineCommand({
  usage: 'latchkey users export [--output FILE] [--json]',
  description: 'Export all accounts as JSON Lines, with their password hashes.',
  options: {
    output: {
      type: 'string',
      value: 'FILE',
      description: 'a new file that only its owner can read; - for standard output, even a terminal'
    }
  },
  plan: ({ output }) => {
    if (output === undefined && process.stdout.isTTY) {
      throw new UsageError('The lines contain password hashes, and standard output is a terminal: give ' +
        '--output FILE, or --output - to print them anyway.')
    }
    if (output !== undefined && output !== '-' && existsSync(output)) {
      throw new UsageError(`${output} exists already: give the name of a new file.`)
    }
    return async config => {
      const { exportLines } = await import('../transfer/export.ts')
      if (output === undefined || output === '-') {
        const exported = await withDatabase(config, async db => await exportLines(db, createPrinter(), {}))
        process.stderr.write(`Exported ${formatCount(exported)}.\n`)
        return undefined
      }
      const exported = await withDatabase(config, async db =>
        await writeAtomically(output, async write => await exportLines(db, write, {})))
      return { text: `Exported ${formatCount(exported)} to ${output}.`, data: { exported } }
    }
  }
})

const formatCount = (accounts: number): string => `${accounts} ${accounts === 1 ? 'account' : 'accounts'}`

/** Creates a function that prints a text and waits until it is written. */
function createPrinter () {
  // The callback of each write also gets the error.
  process.stdout.on('error', () => {})
  return async (text: string) => await new Promise<void>((resolve, reject) => {
    process.stdout.write(text, error => error ? reject(error) : resolve())
  })
}

/** Creates a file, which gets its name only when it is complete. */
async function writeAtomically<Result> (
  path: string, work: (write: (text: string) => Promise<void>) => Promise<Result>
): Promise<Result> {
  const draft = `${path}.${randomUUID()}`
  const file = await open(draft, 'wx', 0o600)
  try {
    const result = await work(async text => await file.appendFile(text))
    await file.sync()
    await link(draft, path)
    return result
  } finally {
    await file.close()
    await unlink(draft)
  }
}
