import pg from 'pg'

// SQLSTATE classes and codes of errors that the statement did not cause:
//
// | code                       | meaning                                                                  |
// | -------------------------- | ------------------------------------------------------------------------ |
// | 08, 28, 3D                 | connection, authorization, no such database                              |
// | 25006                      | read-only after a failover                                               |
// | 40, 55P03                  | conflict with another transaction, lock not available in time            |
// | 53, 54, 57, 58, XX         | resources, limits, intervention by the operator, system, internal error  |
// | 3F000, 42P01, 42703, 42883 | a schema that is not migrated yet                                        |
// | 42501                      | a privilege that the role lacks                                          |
// | 0A000, 42804               | a prepared statement that no longer fits the schema; 42804 if a function |
// |                            | returns the row of a table that was altered                              |
// | 26000, 42P05               | a prepared statement that a pooler lost, or has from another session     |
const faultCodes =
  /^(08|28|3D|3F000|25006|40|53|54|55P03|57|58|42501|42P01|42P05|42703|42804|42883|0A000|26000|XX)/
const socketFaultCodes = /^(E[A-Z]+|ERR_SSL|CERT|DEPTH|SELF|UNABLE)/
const driverFaults = /terminat|timeout|not queryable|ended|SSL|SASL/i

/** Whether an error is a fault of the database, and not of the statement. */
export function isFault (error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if (error instanceof pg.DatabaseError) return faultCodes.test(error.code ?? '')
  // Other errors of the driver come from the connection (or, as a TypeError, from our own code).
  return 'code' in error ? socketFaultCodes.test(String(error.code)) : driverFaults.test(error.message)
}

/** Whether a prepared statement was lost, or is that of another session, so that it was not executed. */
export const isStatementLost = (error: unknown) =>
  error instanceof pg.DatabaseError && /^(26000|42P05)$/.test(error.code ?? '')

/** Whether a statement failed because it did not get a lock in time. */
export const isLockTimeout = (error: unknown) => error instanceof pg.DatabaseError && error.code === '55P03'

/**
 * Whether a fault ended only the statement. A new connection after each lock timeout, deadlock or
 * serialization failure would make contention for one row much more expensive.
 */
export const leavesConnectionIntact = (error: unknown) =>
  error instanceof pg.DatabaseError && /^(55P03|40P01|40001)$/.test(error.code ?? '')

/** Whether an insert or update failed on the unique constraint of this name. */
export const violates = (error: unknown, constraint: string) =>
  error instanceof pg.DatabaseError && error.code === '23505' && error.constraint === constraint

/** Whether an insert or update failed because a row that it references was deleted. */
export const lacksReference = (error: unknown) => error instanceof pg.DatabaseError && error.code === '23503'
