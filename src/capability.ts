import type { SealedColumn } from './crypto/sealed-column.ts'
import type { Queryable } from './database/database.ts'
import type { Topic } from './database/effects.ts'
import type { ProblemDefinition } from './http/problem.ts'
import type { JsonSchema } from './syntax/json-schema.ts'

/**
 * A part of the personal data of a user. The statement selects the rows of the user `$1` after the cursor
 * `$2`, up to `$3` of them, ordered by their column `cursor`.
 */
export interface PersonalDataPart {
  /** The member of the export that has the rows. */
  name: string
  tables: readonly string[]
  text: string
  /** The JSON Schema of the rows without their cursor, for the API document. */
  schema: JsonSchema
}

/** A kind of mails, as its room declares it. */
export interface MailKindDeclaration {
  kind: string
  /** The page that the link of the mail opens. Undefined if the mail has no link. */
  page?: string
  /** The page of this service that the mail leads to, if it has no link with a token. */
  action?: 'forgot' | 'sign-in'
  /**
   * Whether it tells a user what happened to their account. Its address is known only when it is sent, and it
   * is counted then.
   */
  isNotification?: boolean
}

/** A counter of the metrics. It counts each value of the topic, whose members are the labels. */
export interface CounterDefinition {
  name: string
  help: string
  labelNames: readonly string[]
  topic: Topic<never>
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
   * The kinds of mails that it sends. They are also added to the interface `MailKinds`. Their templates are
   * in `src/mail/templates`.
   */
  mailKinds?: readonly MailKindDeclaration[]
  /**
   * The columns that it seals with the key-encryption key. They are sealed again when the key is replaced.
   */
  sealedColumns?: readonly SealedColumn[]
  /** What it holds about a user, for the data export. */
  personalData?: readonly PersonalDataPart[]
  /** What it counts for the metrics. */
  counters?: readonly CounterDefinition[]
  /** What it purges. */
  housekeeping?: readonly HousekeepingTask[]
}
