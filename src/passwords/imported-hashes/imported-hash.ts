/** A password hash that another system made. The user's next sign-in replaces it. */
export interface ImportedHash {
  /** Why the hash must not be evaluated, if it costs too much for a sign-in. */
  exceededLimit?: string | undefined
  /** KiB of memory that an evaluation takes. */
  memoryKib: number
  /** Returns whether the hash is of this password. */
  matches: (password: string) => Promise<boolean>
}
