/** A password hash that another system made, and that a sign-in replaces. */
export interface ForeignHash {
  /** Why it is not evaluated, where it costs more than is given for a sign-in. */
  excess?: string | undefined
  /** KiB that an evaluation takes. */
  memoryKib: number
  /** Whether it is the password's, as the other system took it. */
  matches: (password: string) => Promise<boolean>
}
