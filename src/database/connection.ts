import pg from 'pg'
import { parse, type DatabaseHost } from '../syntax/database-url.ts'
import { explainConnectionError, type ConnectionTarget } from './connection-error.ts'

/** Settings of a connection, by their names in PostgreSQL. */
export type Settings = Readonly<Record<string, string>>

/**
 * What the service relies on. A role or a database can have other defaults. The driver reads times only in
 * the ISO style, statements expect the isolation level, and a listening connection is idle for long.
 */
export const requiredSettings: Settings = {
  client_encoding: 'UTF8',
  DateStyle: 'ISO',
  TimeZone: 'UTC',
  standard_conforming_strings: 'on',
  default_transaction_isolation: 'read committed',
  default_transaction_deferrable: 'off',
  idle_session_timeout: '0'
}

/** How a new connection can be used. */
export interface ConnectionState {
  /**
   * Whether a pooler stands between, so that each transaction may run on another connection of the server.
   * What a session has (settings, prepared statements, locks, LISTEN) must then not be used.
   */
  isPooled: boolean
  /** Whether the server accepts no writes, because it is a standby or because the role is read-only. */
  isReadOnly: boolean
}

// The process of the server has one number. A pooler makes up others for its clients. The settings are made
// for the session only if there is no pooler, because they would reach other sessions through it.
const prepareText = `
  select coalesce(pg_backend_pid() = $1, false) as "isDirect",
    pg_is_in_recovery() or current_setting('default_transaction_read_only')::boolean as "isReadOnly", (
      select count(set_config(name, value, false))
      from unnest($2::text[], $3::text[]) as setting (name, value)
      where pg_backend_pid() = $1
    ) as "count"`

const prepareTimeout = { query_timeout: 5_000 }

/** Makes settings for a new connection, as far as it keeps them, and finds out how it can be used. */
export async function prepare (client: pg.ClientBase, settings: Settings): Promise<ConnectionState> {
  const processId = 'processID' in client ? client.processID : null
  const { rows: [row] } = await client.query<{ isDirect: boolean, isReadOnly: boolean }>({
    text: prepareText,
    values: [processId, Object.keys(settings), Object.values(settings)],
    ...prepareTimeout
  })
  return { isPooled: row?.isDirect !== true, isReadOnly: row?.isReadOnly === true }
}

/** The statements that begin a transaction with settings of its own. */
export const beginWith = (settings: Settings): string =>
  ['begin isolation level read committed', ...Object.entries(settings).map(([name, value]) =>
    `set local ${name} = ${pg.escapeLiteral(value)}`)].join('; ')

export interface OpenOptions {
  applicationName: string
  /** Milliseconds in which a connection must be made, unless the URL says otherwise. */
  connectTimeoutMs: number
  settings: Settings
  /** The variable that has the URL, for messages; `DATABASE_URL` if undefined. */
  variable?: string | undefined
}

/** The URL of a database, as the driver takes it. */
export interface DriverAddress {
  /** The servers to try, in their order; one without a name is the driver's default. */
  hosts: Array<DatabaseHost | undefined>
  connectTimeoutMs: number
  options: pg.ClientConfig
}

/** Reads the URL of a database. Throws an Error if it is not valid. */
export function readUrl (
  url: string, { applicationName, connectTimeoutMs }: Omit<OpenOptions, 'settings' | 'variable'>
): DriverAddress {
  const address = parse(url)
  const timeoutMs = address.connectTimeoutMs ?? connectTimeoutMs
  const options: pg.ClientConfig = {
    application_name: applicationName,
    ...address.options,
    keepAlive: true,
    connectionTimeoutMillis: timeoutMs
  }
  const hosts = address.hosts.length > 0 ? address.hosts : [undefined]
  return { hosts, connectTimeoutMs: timeoutMs, options }
}

/** What a connection is meant for. The driver's client also knows what the URL leaves out. */
export function destinationOf (client: pg.Client, variable = 'DATABASE_URL'): ConnectionTarget {
  const { host, port, user = '', database = '' } = client
  const server = host.startsWith('/') ? `${host}/.s.PGSQL.${port}` : `${host}:${port}`
  return { server, user, database, variable }
}

/** A server of several accepts no writes, so that another must be used. */
export class ReadOnlyServer extends Error {
  constructor () { super('the server accepts no writes') }
}

/**
 * Opens a connection to the first server of a URL that answers and, if there are several, accepts writes.
 * Throws the last error, with a message that names the server.
 */
export async function open (
  url: string, options: OpenOptions
): Promise<{ client: pg.Client, state: ConnectionState }> {
  const address = readUrl(url, options)
  let failure: unknown
  for (const host of address.hosts) {
    const client = new pg.Client({ ...address.options, ...host })
    // Without a listener, the error of a lost connection would end the process.
    client.on('error', () => {})
    try {
      await client.connect()
      const state = await prepare(client, options.settings)
      if (address.hosts.length > 1 && state.isReadOnly) throw new ReadOnlyServer()
      return { client, state }
    } catch (cause) {
      await client.end().catch(() => {})
      failure = explainConnectionError(cause, destinationOf(client, options.variable))
    }
  }
  throw failure
}
