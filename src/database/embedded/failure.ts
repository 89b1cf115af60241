/** An error of the embedded PostgreSQL. Its message tells the person who started the service what to do. */
export class EmbeddedPostgresError extends Error {
  override name = 'EmbeddedPostgresError'
}

/** A handler that ignores errors with these codes, and throws all others. */
export function ignoreCodes (...codes: string[]): (error: unknown) => undefined {
  return error => {
    if (!codes.includes(codeOf(error))) throw error
  }
}

/** The code of an error; empty if it has none. */
export function codeOf (error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}

/** The message of an error, without the command that the message of a failed command begins with. */
export function messageOf (error: unknown): string {
  return error instanceof Error ? error.message.replace(/^Command failed: .*\n/, '').trim() : ''
}
