/** A password hash that another system made. The user's next sign-in replaces it. */
export interface ImportedHash {
  /** Why the hash must not be evaluated, if it costs too much for a sign-in. */
  exceededLimit?: string | undefined
  /** KiB of memory that an evaluation takes. */
  memoryKib: number
  /** Returns the texts that the system may have hashed for a typed password; `asTyped` by default. */
  passwordCandidates?: (typed: string) => string[]
  /** Returns whether the hash is of this password. */
  matches: (password: string) => Promise<boolean>
}

/** Returns a typed password as it came, and in NFC: most systems hash one of the two. */
export const asTyped = (typed: string) => [...new Set([typed, typed.normalize('NFC')])]
