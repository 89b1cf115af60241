import { randomUUID } from 'node:crypto'
import { createReadStream, existsSync } from 'node:fs'
import { link, open, stat, unlink } from 'node:fs/promises'
import { command, UsageError } from './command.ts'
import { withDatabase } from './database.ts'
import { progress } from './progress.ts'
import { reported, shown } from './refused-lines.ts'

export const importAll = command({
  usage: 'latchkey users import FILE.jsonl [--dry-run] [--report FILE] [--json]',
  meaning: 'Make accounts of lines of JSON. What is there is not changed: run it again after a fault.',
  operands: [{ value: 'FILE.jsonl', meaning: 'a file, or - for standard input' }],
  options: {
    'dry-run': { type: 'boolean', meaning: 'judge the lines, and change nothing' },
    report: { type: 'string', value: 'FILE', meaning: 'write the refused lines there, as lines of JSON' }
  },
  plan: ({ 'dry-run': dryRun = false, report }, [path = '-']) => async config => {
    const { importLines } = await import('../transfer/import.ts')
    const bar = progress(path === '-' ? undefined : (await stat(path)).size)
    const refused = report === undefined ? shown(bar.clear) : await reported(report)
    let read = 0
    async function * chunks () {
      for await (const chunk of path === '-' ? process.stdin : createReadStream(path, { highWaterMark: 262_144 })) {
        read += chunk.length
        yield Buffer.from(chunk)
      }
    }
    const counts = await withDatabase(config, async db => await importLines(db, chunks(), {
      argon2: config.passwords,
      dryRun,
      onRefusal: refused.add,
      onProgress: ({ imported, already_there: there, refused }) => bar.draw(read, `${imported} imported, ${there} already there, ${refused} refused`)
    }, {})).finally(async () => {
      bar.clear()
      await refused.end()
    })
    const reasons = Object.entries(counts.reasons).map(([reason, count]) => `\n  ${reason}: ${count}`)
    return {
      text: `${dryRun ? 'Nothing was changed. It would be: i' : 'I'}mported ${counts.imported}, already there ${counts.already_there}, refused ${counts.refused}${reasons.length > 0 ? ':' : '.'}${reasons.join('')}`,
      data: { ...counts, dry_run: dryRun },
      code: counts.refused > 0 ? 1 : 0
    }
  }
})

export const exportAll = command({
  usage: 'latchkey users export [--output FILE] [--json]',
  meaning: 'Write all accounts as lines of JSON, with their password hashes.',
  options: { output: { type: 'string', value: 'FILE', meaning: 'a new file, for its owner alone; - for standard output, even where that is a terminal' } },
  plan: ({ output }) => {
    if (output === undefined && process.stdout.isTTY) throw new UsageError('The lines hold password hashes, and standard output is a terminal: give --output FILE, or --output - to have them there.')
    if (output !== undefined && output !== '-' && existsSync(output)) throw new UsageError(`${output} is there already.`)
    return async config => {
      const { exportLines } = await import('../transfer/export.ts')
      if (output === undefined || output === '-') {
        const exported = await withDatabase(config, async db => await exportLines(db, printed(), {}))
        process.stderr.write(`Exported ${exported} ${exported === 1 ? 'account' : 'accounts'}.\n`)
        return undefined
      }
      const exported = await withDatabase(config, async db => await whole(output, async write => await exportLines(db, write, {})))
      return { text: `Exported ${exported} ${exported === 1 ? 'account' : 'accounts'} to ${output}.`, data: { exported } }
    }
  }
})

/** Prints a text, and waits until it is taken. */
function printed () {
  // Each write has it too.
  process.stdout.on('error', () => {})
  return async (text: string) => await new Promise<void>((resolve, reject) => { process.stdout.write(text, error => error ? reject(error) : resolve()) })
}

/** Makes a new file, which has its name only when all is in it. */
async function whole<T> (path: string, work: (write: (text: string) => Promise<void>) => Promise<T>): Promise<T> {
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
