import { ConfigError } from '../config/config-error.ts'
import type { Config } from '../config/config.ts'
import { explainUnsealError } from '../config/key-encryption.ts'

/** An error of the start, with a message that says what happened and what to do. */
export function explainStartError (thrown: unknown, { host, port }: Config): Error {
  const error = explainUnsealError(thrown)
  if (!(error instanceof Error)) return new Error(String(error))
  const code = 'code' in error ? error.code : undefined
  if (code === 'EADDRINUSE') {
    return new Error(`Port ${port} of ${host} is in use, perhaps by another Latchkey: ` +
      'stop that program, or choose another port with PORT.', { cause: error })
  }
  if (code === 'EACCES' && 'syscall' in error && error.syscall === 'listen') {
    return new Error(`Port ${port} of ${host} needs privileges that this user lacks: choose a port above ` +
      '1023 ' +
      'with PORT.', { cause: error })
  }
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') {
    return new ConfigError([`HOST is ${host}, which is not an address of this machine: ` +
      'set HOST to 127.0.0.1, or to 0.0.0.0 for all addresses'])
  }
  return error
}
