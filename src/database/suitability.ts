import pg from 'pg'
import { PermanentDatabaseError } from './connection-error.ts'

interface Traits {
  role: string
  database: string
  encoding: string
  isStandby: boolean
  isReadOnly: boolean
  /** Where PostgreSQL has the setting `default_transaction_read_only` from. */
  source: string
}

const selectTraits = `
  select current_user::text as role, current_database()::text as database,
    current_setting('server_encoding') as encoding, pg_is_in_recovery() as "isStandby",
    setting::boolean as "isReadOnly", source
  from pg_settings where name = 'default_transaction_read_only'`

const shortQuery = { query_timeout: 10_000 }

/**
 * Throws a PermanentDatabaseError if the service cannot work on the database of a connection, because it is
 * not in UTF-8 or because the role is read-only by default.
 */
export async function assertSuitable (client: pg.Client): Promise<void> {
  const { rows: [traits] } = await client.query<Traits>({ text: selectTraits, ...shortQuery })
  if (!traits) return
  const { encoding, isStandby, isReadOnly } = traits
  const database = pg.escapeIdentifier(traits.database)
  if (encoding !== 'UTF8') {
    throw new PermanentDatabaseError(`the database ${database} has the encoding ${encoding}: ` +
      'use one in UTF-8, which "create database latchkey encoding \'UTF8\' template template0" creates')
  }
  // A standby may become the primary.
  if (isStandby) throw new Error('the server of the database is a standby, which accepts no writes')
  if (!isReadOnly) return
  throw new PermanentDatabaseError(`role ${traits.role} may not write in the database ${database}, because ` +
    'default_transaction_read_only is on for it (the setting comes from: ' +
    `${traits.source}): run as a superuser "${resetOf(traits)}"`)
}

/** The statements that undo the setting, depending on where it was made. They must not be read-only. */
function resetOf ({ source, role, database }: Traits): string {
  const [quotedRole, quotedDatabase] = [pg.escapeIdentifier(role), pg.escapeIdentifier(database)]
  const setting = 'default_transaction_read_only'
  switch (source) {
    case 'database user': return `alter role ${quotedRole} in database ${quotedDatabase} reset ${setting}`
    case 'database': return `set ${setting} = off; alter database ${quotedDatabase} reset ${setting}`
    case 'configuration file':
      return `set ${setting} = off; alter system set ${setting} = off; select pg_reload_conf()`
    default: return `alter role ${quotedRole} reset ${setting}`
  }
}
