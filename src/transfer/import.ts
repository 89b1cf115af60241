import type { Origin } from '../audit/events.ts'
import type { Database } from '../database/database.ts'
import { listPepperIds } from '../tokens/peppers.ts'
import { readLines, type TextLine } from './lines.ts'
import type { Argon2Options } from '../passwords/argon2id.ts'
import { parse, RecordError, type ImportRecord, type ImportRejectionReason } from './import-record.ts'
import { importBatch, type ImportOutcome } from './import-batch.ts'

/** A line that created no account. `pointer` is a JSON pointer (RFC 6901) to what is wrong in the line. */
export interface RejectedLine {
  line: number
  reason: ImportRejectionReason
  pointer: string
  detail: string
  email?: string
}

/** How many lines had which outcome. The names are public: the command prints them as JSON. */
export interface ImportCounts {
  imported: number
  already_there: number
  refused: number
  reasons: Partial<Record<ImportRejectionReason, number>>
}

export interface ImportOptions {
  /** The parameters of new hashes, which an imported hash may always cost. */
  argon2: Argon2Options
  dryRun: boolean
  /** Called for each rejected line, in order. */
  onRefusal: (rejected: RejectedLine) => Promise<void>
  /** Called after each batch. */
  onProgress: (counts: ImportCounts) => void
}

const maxLineBytes = 65_536
const batchSize = 500
// A smaller import does not change the planner's choices.
const minImportedForAnalyze = 10_000
const analyzeTimeoutMs = 65_000

/** A line, as a record or as the reason why it is none. */
type ParsedLine = { number: number, record: ImportRecord } | { number: number, error: RecordError }

/**
 * Creates accounts from JSON Lines, several hundred in each transaction. Existing accounts are left
 * unchanged, so an interrupted import can be rerun from the first line.
 */
export async function importLines (
  db: Database, chunks: AsyncIterable<Buffer>, options: ImportOptions, origin: Origin
): Promise<ImportCounts> {
  const counts: ImportCounts = { imported: 0, already_there: 0, refused: 0, reasons: {} }
  let batch: ParsedLine[] = []
  const ids = new Set<string>()

  async function flush () {
    const records = batch.flatMap(line => 'record' in line ? [line.record] : [])
    const outcomes = await importBatch(db, records, origin, options)
    const outcomeOf = new Map(records.map((record, index) => [record, outcomes[index]]))
    for (const line of batch) {
      const outcome = 'record' in line ? outcomeOf.get(line.record) : undefined
      if (outcome === 'imported') counts.imported++
      else if (outcome === 'already_exists') counts.already_there++
      else {
        const rejected = rejectedLine(line, outcome)
        counts.refused++
        counts.reasons[rejected.reason] = (counts.reasons[rejected.reason] ?? 0) + 1
        await options.onRefusal(rejected)
      }
    }
    batch = []
    ids.clear()
    options.onProgress(counts)
  }

  const peppers = await listPepperIds(db)
  for await (const textLine of readLines(chunks, maxLineBytes)) {
    const line = parseLine(textLine, options.argon2, peppers)
    const id = 'record' in line ? line.record.id : undefined
    if (batch.length === batchSize || (id !== undefined && ids.has(id))) await flush()
    if (id !== undefined) ids.add(id)
    batch.push(line)
  }
  await flush()
  if (counts.imported >= minImportedForAnalyze && !options.dryRun) await analyzeUsers(db)
  return counts
}

/**
 * Updates the planner's statistics, which autovacuum would do a minute later. Failing is harmless: the
 * database role may lack the privilege, or another session may hold the lock.
 */
async function analyzeUsers (db: Database): Promise<void> {
  const text = 'analyze (skip_locked) users, user_roles'
  await db.transaction(async tx => {
    await tx.query("set local statement_timeout = '60s'")
    await tx.query({ name: 'users.analyze', text, query_timeout: analyzeTimeoutMs })
  }).catch(() => {})
}

const faultDetails = {
  line_too_long: `must have at most ${maxLineBytes} bytes`,
  invalid_utf8: 'must be UTF-8'
}

function parseLine (line: TextLine, argon2: Argon2Options, peppers: ReadonlySet<string>): ParsedLine {
  const { number } = line
  try {
    if ('fault' in line) throw new RecordError(line.fault, '', faultDetails[line.fault])
    return { number, record: parse(line.text, argon2, peppers) }
  } catch (error) {
    if (error instanceof RecordError) return { number, error }
    throw error
  }
}

function rejectedLine (line: ParsedLine, outcome: ImportOutcome | undefined): RejectedLine {
  if ('error' in line) {
    const { reason, pointer, message } = line.error
    return { line: line.number, reason, pointer, detail: message }
  }
  const reason = outcome === 'id_taken' || outcome === 'username_taken' ? outcome : 'email_taken'
  const detail = reason === 'username_taken'
    ? 'belongs to another account, or looks like the username of one'
    : 'belongs to another account'
  const { address: email } = line.record.email
  return { line: line.number, reason, pointer: `/${reason.replace('_taken', '')}`, detail, email }
}
