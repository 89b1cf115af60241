import pg from 'pg'
import { certificateFault, type CertificateFault } from '../http/certificate.ts'

/** A fault that waiting does not mend. Its message says what was found and what to do. */
export class PermanentDatabaseError extends Error {}

/** What a connection was meant for. */
export interface ConnectionTarget {
  /** The server as it is named in messages. */
  server: string
  user: string
  database: string
  /** The variable with the URL, such as `DATABASE_URL`. */
  variable: string
}

const passwordVariableOf = (variable: string) =>
  variable === 'DATABASE_OWNER_URL' ? 'DATABASE_OWNER_PASSWORD' : 'DATABASE_PASSWORD'

/** An error for the failure to connect. It is a PermanentDatabaseError if another attempt would fail too. */
export function explainConnectionError (cause: unknown, destination: ConnectionTarget): Error {
  const permanent = findPermanentCause(cause, destination)
  const reason = permanent ?? `${reasonOf(cause)}${adviceFor(cause, destination)}`
  const message = `the database at ${destination.server} cannot be reached: ${reason}`
  return permanent === undefined
    ? new Error(message, { cause })
    : new PermanentDatabaseError(message, { cause })
}

// At that address, or under the name of that socket, nothing listens.
const isNotRunning = (cause: unknown) =>
  cause instanceof Error && 'code' in cause && ['ECONNREFUSED', 'ENOENT'].includes(String(cause.code))

const adviceFor = (cause: unknown, { variable }: ConnectionTarget) =>
  isNotRunning(cause) ? `; start it, or check ${variable}` : ''

// A host with two addresses fails twice, in an error without a message.
const reasonOf = (cause: unknown) => cause instanceof AggregateError
  ? cause.errors.map(error => messageOf(error)).join(', ')
  : messageOf(cause)

const messageOf = (error: unknown) => error instanceof Error ? error.message : String(error)

function findPermanentCause (cause: unknown, destination: ConnectionTarget): string | undefined {
  const { user, database, variable } = destination
  const [role, name] = [pg.escapeIdentifier(user), pg.escapeIdentifier(database)]
  const message = messageOf(cause)
  if (cause instanceof pg.DatabaseError) {
    const { code = '' } = cause
    // PgBouncer has one code for all of its refusals.
    const isPooler = code === '08P01'
    if (code === '3D000' || (isPooler && /no such database/.test(message))) {
      return `${message}; correct ${variable}, or run as a superuser ` +
        `"create database ${name} owner ${role} encoding 'UTF8' template template0"`
    }
    if (code === '42501') {
      return `role ${user} may not connect to the database ${name}: run as a superuser ` +
        `"grant connect on database ${name} to ${role}"`
    }
    if (/no (?:SSL )?encryption/.test(message)) {
      return `it accepts role ${user} only over TLS (${message}): add sslmode=verify-full to ${variable} ` +
        '(docs/database-tls.md)'
    }
    if (/^28/.test(code) || (isPooler && /authentication failed|no such user/.test(message))) {
      return `it refuses role ${user} (${message}): correct the role or the password in ${variable} or ` +
        passwordVariableOf(variable)
    }
    return undefined
  }
  if (/SASL.*password must be/.test(message)) {
    return `it asks for the password of role ${user}: add it to ${variable}, or set ` +
      passwordVariableOf(variable)
  }
  if (/does not support SSL/.test(message)) {
    return `it does not offer the TLS that ${variable} asks for: enable ssl on the server, or use ` +
      'sslmode=disable if no one can read the traffic (docs/database-tls.md)'
  }
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  const fault = certificateFault(code)
  return fault && `its certificate is refused (${message}): ${certificateAdvice[fault](variable)} ` +
    '(docs/database-tls.md)'
}

const certificateAdvice: Record<CertificateFault, (variable: string) => string> = {
  untrusted: variable => 'no authority that Latchkey knows has issued it; put the certificate of the ' +
    `authority into a file, and add sslrootcert=/path/to/the/file to ${variable}`,
  name: variable => `it is for another name; use a host that it names in ${variable}`,
  expired: () => 'it is not valid at this time; renew it, or correct the clock of this machine'
}
