/** What the verifier logs to: a logger with these methods of pino, such as the logger of Fastify. */
export interface VerifierLog {
  debug: (details: object, message: string) => void
  info: (details: object, message: string) => void
  warn: (details: object, message: string) => void
  error: (details: object, message: string) => void
}

const prefix = 'latchkey verifier:'

/** Writes warnings and errors to the console. */
export const consoleLog: VerifierLog = {
  debug: () => {},
  info: () => {},
  warn: (details, message) => console.warn(prefix, message, details),
  error: (details, message) => console.error(prefix, message, details)
}
