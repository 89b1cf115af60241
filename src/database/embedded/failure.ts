/** Its message is for the person who started the service. */
export class EmbeddedPostgresError extends Error {
  override name = 'EmbeddedPostgresError'
}

export function unless (...codes: string[]): (error: unknown) => undefined {
  return error => {
    if (!codes.includes(codeOf(error))) throw error
  }
}

export function codeOf (error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}

// Without the command, which the message of a failed one begins with.
export function messageOf (error: unknown): string {
  return error instanceof Error ? error.message.replace(/^Command failed: .*\n/, '').trim() : ''
}
