import pino from 'pino'
import type { Config } from '../config/config.ts'
import { isColorWanted } from '../config/environment.ts'
import { createTerminalLog, type TerminalLog } from './terminal-log.ts'

/** Where the log goes. It is `pretty` for a person at a terminal, and JSON for programs. */
export interface LogOutput {
  write: (line: string) => void
  /** Present if the log is for a person. */
  terminal?: TerminalLog
}

const defaultColumns = 100

/** The log on standard output, in the format that the configuration or else the kind of output suggests. */
export function createLogOutput ({ logFormat }: Pick<Config, 'logFormat'>): LogOutput {
  const isTerminal = process.stdout.isTTY
  const format = logFormat ?? (isTerminal ? 'pretty' : 'json')
  // A line does not wait until the one before it is written.
  if (format === 'json') return pino.destination({ dest: 1, sync: false })
  const isColored = isTerminal && isColorWanted()
  // Standard output has no columns if it is not a terminal, unlike its declared type.
  const screen: { columns?: number } = process.stdout
  // On Linux and macOS a write to a terminal or a pipe is synchronous, so no line is lost at the exit.
  const terminal = createTerminalLog({
    write: text => { process.stdout.write(text) },
    isColored,
    columns: () => screen.columns ?? defaultColumns
  })
  return { write: terminal.write, terminal }
}

interface SerializedError { [key: string]: unknown, type: string, message: string, stack: string }

/**
 * The options of the logger. Of an error only safe fields are logged: drivers put rows and parameters into
 * others.
 */
export const loggerOptions = (level: string) => ({
  level,
  serializers: { err: describeError },
  redact: ['password', 'token', 'access_token', 'refresh_token', 'authorization', 'cookie']
    .flatMap(name => [name, `*.${name}`])
})

function describeError (error: Error): SerializedError {
  const { name, stack = '', cause } = error
  return {
    type: name,
    message: messageOf(error),
    stack,
    ...'code' in error && { code: error.code },
    ...cause instanceof Error && { cause: describeError(cause) }
  }
}

/** A host with two addresses fails twice, in an AggregateError without a message. */
const messageOf = (error: Error): string =>
  error instanceof AggregateError ? error.errors.map(each => String(each)).join(', ') : error.message
