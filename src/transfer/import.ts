import type { Origin } from '../audit/events.ts'
import type { Database } from '../database/database.ts'
import { listPepperIds } from '../tokens/peppers.ts'
import { readLines, type TextLine } from './lines.ts'
import type { Argon2Options } from '../passwords/argon2id.ts'
import { parse, RecordError, type ImportRecord, type ImportRejectionReason } from './import-record.ts'
import { importBatch, type ImportOutcome } from './import-batch.ts'

/** A line that made no account, and why: where in the line, by JSON pointer, and what is wrong there. */
export interface RejectedLine { line: number, reason: ImportRejectionReason, pointer: string, detail: string, email?: string }

export interface ImportCounts { imported: number, already_there: number, refused: number, reasons: Partial<Record<ImportRejectionReason, number>> }

export interface ImportOptions {
  /** Bounds what a hash may cost, beside what it may at the least. */
  argon2: Argon2Options
  dryRun: boolean
  /** Told of each refused line, in their order. */
  onRefusal: (refusal: RejectedLine) => Promise<void>
  /** Told after each part. */
  onProgress: (counts: ImportCounts) => void
}

const longestLine = 65_536
const batchSize = 500
// Fewer do not change which plans are good.
const many = 10_000

/** What a line holds. */
type Held = { number: number, account: ImportRecord } | { number: number, refused: RecordError }

/**
 * Makes accounts of lines of JSON, each wholly or not at all, several hundred in a transaction. What is there is not
 * changed: after a fault it may be done again from the first line.
 */
export async function importLines (db: Database, chunks: AsyncIterable<Buffer>, options: ImportOptions, origin: Origin): Promise<ImportCounts> {
  const counts: ImportCounts = { imported: 0, already_there: 0, refused: 0, reasons: {} }
  let batch: Held[] = []
  const ids = new Set<string>()

  async function flush () {
    const accounts = batch.flatMap(held => 'account' in held ? [held.account] : [])
    const outcomes = await importBatch(db, accounts, origin, options)
    const became = new Map(accounts.map((account, index) => [account, outcomes[index]]))
    for (const held of batch) {
      const outcome = 'account' in held ? became.get(held.account) : undefined
      if (outcome === 'imported') counts.imported++
      else if (outcome === 'there') counts.already_there++
      else {
        const refusal = refusalOf(held, outcome)
        counts.refused++
        counts.reasons[refusal.reason] = (counts.reasons[refusal.reason] ?? 0) + 1
        await options.onRefusal(refusal)
      }
    }
    batch = []
    ids.clear()
    options.onProgress(counts)
  }

  const peppers = await listPepperIds(db)
  for await (const line of readLines(chunks, longestLine)) {
    const held = hold(line, options.argon2, peppers)
    const id = 'account' in held ? held.account.id : undefined
    if (batch.length === batchSize || (id !== undefined && ids.has(id))) await flush()
    if (id !== undefined) ids.add(id)
    batch.push(held)
  }
  await flush()
  if (counts.imported >= many && !options.dryRun) await counted(db)
  return counts
}

/** Has the database know how many users there are, which else it learns a minute later; not where the role may not, or somebody else is at it. */
async function counted (db: Database): Promise<void> {
  await db.transaction(async tx => {
    await tx.query("set local statement_timeout = '60s'")
    await tx.query({ name: 'users.analyze', text: 'analyze (skip_locked) users, user_roles', query_timeout: 65_000 })
  }).catch(() => {})
}

function hold (line: TextLine, argon2: Argon2Options, peppers: ReadonlySet<string>): Held {
  const { number } = line
  try {
    if ('fault' in line) throw new RecordError(line.fault, '', line.fault === 'invalid_utf8' ? 'must be UTF-8' : `must have at most ${longestLine} bytes`)
    return { number, account: parse(line.text, argon2, peppers) }
  } catch (error) {
    if (error instanceof RecordError) return { number, refused: error }
    throw error
  }
}

function refusalOf (held: Held, outcome: ImportOutcome | undefined): RejectedLine {
  const { number: line } = held
  if ('refused' in held) return { line, reason: held.refused.reason, pointer: held.refused.pointer, detail: held.refused.message }
  const reason = outcome === 'id_taken' || outcome === 'username_taken' ? outcome : 'email_taken'
  return { line, reason, pointer: `/${reason.replace('_taken', '')}`, detail: reason === 'username_taken' ? 'belongs to an account that is different, or looks like one that does' : 'belongs to an account that is different', email: held.account.email.address }
}
