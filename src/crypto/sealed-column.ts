/**
 * A column whose values are sealed with the key-encryption key. When that key is replaced, all values are
 * sealed again. Each room declares its own columns.
 */
export interface SealedColumn {
  table: string
  idColumn: string
  column: string
  /** The condition, in SQL, of the rows whose value is still needed. All rows if it is absent. */
  neededIf?: string
  /** The purpose for which the value of this row was sealed. */
  purpose: (id: string) => string
  /**
   * Whether a value may be left that no key opens. Such a column may have many rows, so its values are read
   * only while an old key-encryption key is configured.
   */
  isLossAccepted: boolean
}
