import pg from 'pg'

/** A difference between the database and what the service relies on, with the statements that repair it. */
export interface Finding {
  kind: 'role' | 'database' | 'schema' | 'table' | 'function' | 'trigger'
  /** The name of the object as SQL writes it. */
  object: string
  problem: string
  sql: string[]
  /** The role that owns the object, if another role should. */
  foreignOwner?: string
  /** Whether requests fail because the service's role lacks a privilege. */
  blocks?: boolean
  /** Whether the object is a function that runs with the rights of its owner. */
  isDefiner?: boolean
}

/** Whether requests fail because of a finding. */
export const isBlocking = ({ blocks = false }: Finding): boolean => blocks

/** Formats a finding for logs and commands. */
export const describeFinding = ({ kind, object, problem, sql }: Finding) =>
  ({ object: `${kind} ${object}`, problem, sql: sql.join('; ') })

/** What the comparisons with the expected state depend on. */
export interface Scope {
  schema: string
  /** The role that the service logs in as. */
  runtime: string
  owner: string
  /** Whether the runtime role does not own the tables, so that grants bind it. */
  isSeparate: boolean
}

export const quote = pg.escapeIdentifier

/** The finding that an object belongs to a role that should not own it. */
export const foreignOwnerFinding = (
  kind: 'table' | 'function', object: string, foreignOwner: string, owner: string
): Finding => ({
  kind,
  object,
  problem: `it belongs to role ${foreignOwner} instead of ${owner}`,
  sql: [`alter ${kind} ${object} owner to ${quote(owner)}`],
  foreignOwner
})
