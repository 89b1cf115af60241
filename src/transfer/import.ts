import type { Origin } from '../audit/events.ts'
import type { Database } from '../database/database.ts'
import { listPepperIds } from '../tokens/peppers.ts'
import { readLines, type TextLine } from './lines.ts'
import { parse, type ImportRecord, type RecordRules } from './import-record.ts'
import { RecordError, type ImportRejectionReason } from './record-error.ts'
import { importBatch, type ImportOutcome } from './import-batch.ts'

/**
 * A line that created no account, or a value that its account does not have. `pointer` is a JSON pointer
 * (RFC 6901) to what is wrong in the line.
 */
export interface ReportedLine {
  line: number
  reason: ImportRejectionReason
  pointer: string
  detail: string
  email?: string
  /** Whether the account was imported, without the value. */
  left_out?: true
}

/**
 * How many lines had which outcome, and how many values were left out. The names are public: the command
 * prints them as JSON.
 */
export interface ImportCounts {
  imported: number
  already_there: number
  refused: number
  reasons: Partial<Record<ImportRejectionReason, number>>
  left_out: Partial<Record<ImportRejectionReason, number>>
}

export interface ImportOptions extends Omit<RecordRules, 'peppers'> {
  dryRun: boolean
  /** Called for each rejected line and for each value that is left out, in order. */
  onReport: (reported: ReportedLine) => Promise<void>
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
  const counts: ImportCounts = { imported: 0, already_there: 0, refused: 0, reasons: {}, left_out: {} }
  let batch: ParsedLine[] = []
  const ids = new Set<string>()

  async function flush () {
    const records = batch.flatMap(line => 'record' in line ? [line.record] : [])
    const outcomes = await importBatch(db, records, origin, options)
    const outcomeOf = new Map(records.map((record, index) => [record, outcomes[index]]))
    for (const line of batch) {
      const outcome = 'record' in line ? outcomeOf.get(line.record) : undefined
      const reported = reportLine(line, outcome)
      if (outcome === 'imported' || outcome === 'without_username') counts.imported++
      else if (outcome === 'already_exists') counts.already_there++
      else counts.refused++
      for (const each of reported) {
        const reasons = each.left_out ? counts.left_out : counts.reasons
        reasons[each.reason] = (reasons[each.reason] ?? 0) + 1
        await options.onReport(each)
      }
    }
    batch = []
    ids.clear()
    options.onProgress(counts)
  }

  const rules = { ...options, peppers: await listPepperIds(db) }
  for await (const textLine of readLines(chunks, maxLineBytes)) {
    const line = parseLine(textLine, rules)
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

function parseLine (line: TextLine, rules: RecordRules): ParsedLine {
  const { number } = line
  try {
    if ('fault' in line) throw new RecordError(line.fault, '', faultDetails[line.fault])
    return { number, record: parse(line.text, rules) }
  } catch (error) {
    if (error instanceof RecordError) return { number, error }
    throw error
  }
}

const takenDetail = 'belongs to another account'
const usernameTaken = new RecordError(
  'username_taken', '/username', `${takenDetail}, or looks like the username of one`
)

/** What the report says of a line: why it was rejected, or which values were left out. */
function reportLine (line: ParsedLine, outcome: ImportOutcome | undefined): ReportedLine[] {
  if ('error' in line) return [reportError(line.number, line.error)]
  const email = line.record.email.address
  if (outcome === 'imported' || outcome === 'without_username') {
    const taken = outcome === 'without_username' ? [usernameTaken] : []
    return [...line.record.leftOut, ...taken].map(error =>
      ({ ...reportError(line.number, error), email, left_out: true }))
  }
  if (outcome === 'already_exists' || outcome === undefined) return []
  const pointer = `/${outcome.replace('_taken', '')}`
  return [{ ...reportError(line.number, new RecordError(outcome, pointer, takenDetail)), email }]
}

const reportError = (line: number, { reason, pointer, message }: RecordError): ReportedLine =>
  ({ line, reason, pointer, detail: message })
