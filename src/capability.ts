import type { SealedColumn } from './crypto/sealed-column.ts'
import type { Queryable } from './database/database.ts'

/** A problem of the catalogue (RFC 9457). */
export interface ProblemDefinition {
  /** The statuses that the problem can have. The first one is the default. */
  status: readonly [number, ...number[]]
  title: string
  /** What happened and what to do, for the page of the problem. It is also the default detail. */
  meaning: string
}

/**
 * A part of the personal data of a user. The statement selects the rows of the user `$1` after the cursor
 * `$2`, up to `$3` of them, ordered by their column `cursor`.
 */
export interface PersonalDataPart {
  /** The member of the export that has the rows. */
  name: string
  tables: readonly string[]
  text: string
}

/** What housekeeping needs to know of the configuration. */
export interface HousekeepingSettings {
  /** The lifetime of a refresh token, in seconds. */
  refreshTokenSeconds: number
  /** How long audit events are kept, in seconds. */
  auditRetentionSeconds: number
  /** How many sessions a user may have. */
  sessionLimit: number
}

/** Purges what has expired. Each step is one batch. Between two steps other work gets its turn. */
export type HousekeepingTask = (db: Queryable, settings: HousekeepingSettings) => AsyncIterable<void>

/**
 * What a folder brings to the whole. `capabilities.ts` lists the capabilities once; the catalogue of
 * problems, the types of audit events, the data export and housekeeping follow from the list. No folder knows
 * another's declarations.
 */
export interface Capability {
  /** The types of the events that it records. They are also added to the interface `AuditEventTypes`. */
  auditEvents?: readonly string[]
  /** The problems that it can answer. They are also added to the interface `ProblemCodes`. */
  problems?: Readonly<Record<string, ProblemDefinition>>
  /**
   * The columns that it seals with the key-encryption key. They are sealed again when the key is replaced.
   */
  sealedColumns?: readonly SealedColumn[]
  /** What it holds about a user, for the data export. */
  personalData?: readonly PersonalDataPart[]
  /** What it purges. */
  housekeeping?: readonly HousekeepingTask[]
}
