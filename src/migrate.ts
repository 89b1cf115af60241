import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { digest } from './secret.ts'

export interface Migration { version: number, name: string, sql: string, checksum: string }

/** The schema in the database and the migrations of this program do not fit: waiting does not help. */
export class MigrationError extends Error {}

const folder = fileURLToPath(new URL('../../migrations/', import.meta.url))
// An arbitrary constant, the same in every version: who holds it migrates.
const lock = 7308332182714018

/** The migrations of a folder of `NNN-name.sql`, in order and without gaps. */
export function read (from = folder): Migration[] {
  return readdirSync(from).filter(file => file.endsWith('.sql')).sort().map((file, index) => {
    const version = Number(/^(\d{3})-[a-z0-9-]+\.sql$/.exec(file)?.[1])
    if (version !== index + 1) throw new MigrationError(`${file} should be migration ${index + 1}, named NNN-name.sql`)
    const sql = readFileSync(`${from}/${file}`, 'utf8').replaceAll('\r\n', '\n')
    return { version, name: file, sql, checksum: digest(sql).toString('hex') }
  })
}

/**
 * Applies the migrations that the database does not have, each once and whole, also when several instances
 * try at once. Gives the names of those applied. Throws a MigrationError where history was edited, has a
 * hole, or is longer than this program's.
 */
export async function migrate (url: string, migrations = read()): Promise<string[]> {
  return await connected(url, async client => {
    await alone(client)
    await client.query(`create table if not exists schema_migrations (
      version integer primary key, name text not null, checksum text not null, applied_at timestamptz not null default now())`)
    const pending = check(migrations, await history(client))
    for (const migration of pending) await apply(client, migration)
    return pending.map(({ name }) => name)
  })
}

// Milliseconds: for a lock, and for all attempts to get it.
const patience = 1_000
const persistence = 30_000
const lockNotHad = '55P03'

/** Applies one. Whoever has the table keeps others from it only while that is waited for, and then for a while not. */
async function apply (client: pg.Client, { version, name, sql, checksum }: Migration): Promise<void> {
  for (const end = Date.now() + persistence; ; await pause(patience)) {
    await client.query('begin')
    try {
      await client.query(`set local lock_timeout = ${patience}`)
      await client.query(sql)
      await client.query('insert into schema_migrations (version, name, checksum) values ($1, $2, $3)', [version, name, checksum])
      await client.query('commit')
      return
    } catch (cause) {
      await client.query('rollback').catch(() => {})
      const { code = '', message } = cause instanceof pg.DatabaseError ? cause : {}
      if (code === lockNotHad) {
        if (Date.now() < end) continue
        throw new Error(`${name} could not be applied in ${persistence / 1_000} s, for another transaction has its table`, { cause })
      }
      throw cause instanceof pg.DatabaseError && !/^(08|53|57)/.test(code) ? new MigrationError(`${name} failed: ${message}`, { cause }) : cause
    }
  }
}

/** The names of the migrations that the database does not have. Throws as `migrate` does, and changes nothing. */
export async function pending (url: string, migrations = read()): Promise<string[]> {
  return await connected(url, async client => {
    const { rows: [table] } = await client.query<{ exists: boolean }>({ text: "select to_regclass('schema_migrations') is not null as exists", ...soon })
    return check(migrations, table?.exists ? await history(client) : []).map(({ name }) => name)
  })
}

/** Waits for the lock, but not for good: its holder may be a machine that is no more. */
async function alone (client: pg.Client): Promise<void> {
  for (const end = Date.now() + 30_000; ;) {
    const { rows: [lockRow] } = await client.query<{ had: boolean }>({ text: 'select pg_try_advisory_lock($1) as had', values: [lock], ...soon })
    if (lockRow?.had) return
    if (Date.now() > end) throw new Error('another instance has been migrating for 30 s')
    await pause(50)
  }
}

// Of what takes no time a connection that is frozen must not take for ever; a migration takes as long as it takes.
const soon = { query_timeout: 10_000 }

type Applied = Omit<Migration, 'sql'>
const history = async (client: pg.Client) => (await client.query<Applied>({ text: 'select version, name, checksum from schema_migrations order by version', ...soon })).rows

function check (migrations: Migration[], applied: Applied[]): Migration[] {
  for (const [index, { version, name, checksum }] of applied.entries()) {
    const known = migrations[version - 1]
    if (!known) throw new MigrationError(`the database is newer than this program: it has ${name}, and the last one known here is ${migrations.at(-1)?.name ?? 'none'}`)
    if (version !== index + 1) throw new MigrationError(`the database lacks ${migrations[index]?.name ?? index + 1}, but has ${name}`)
    if (known.name !== name) throw new MigrationError(`migration ${version} was applied as ${name}, but is ${known.name} here`)
    if (known.checksum !== checksum) throw new MigrationError(`${name} was edited after it was applied: put it back, and write a new migration`)
  }
  return migrations.slice(applied.length)
}

async function connected<T> (url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, application_name: 'latchkey migrate', connectionTimeoutMillis: 2_000, keepAlive: true })
  client.on('error', () => {})
  try {
    await client.connect().catch((cause: Error) => {
      // A host with two addresses fails twice, in an error without a message.
      const reason = cause instanceof AggregateError ? cause.errors.map(each => each.message).join(', ') : cause.message
      throw new Error(`the database at ${client.host}:${client.port} cannot be reached: ${reason}`, { cause })
    })
    return await work(client)
  } finally {
    await client.end().catch(() => {})
  }
}
