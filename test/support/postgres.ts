import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'

/** Where the server of this checkout's tests keeps its data, and leaves the address it has. */
export const folder = join(tmpdir(), `latchkey-test-${createHash('sha256').update(process.cwd()).digest('hex').slice(0, 12)}`)
export const addressFile = join(folder, 'address')
export const template = 'latchkey_template'

/** The address of a database of the test server, given the address of any other of it. */
export function named (address: string, database: string): string {
  const url = new URL(address)
  url.pathname = `/${database}`
  return url.href
}

/** Runs one statement on a connection of its own. */
export async function sql<Row extends object> (url: string, text: string, values: unknown[] = []): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query<Row>(text, values)).rows
  } finally {
    await client.end()
  }
}

interface Teardown { teardown: (handler: () => unknown) => void }

/** A database of its own, migrated unless `empty`, that is dropped when the test ends. */
export async function createDatabase (t: Teardown, { empty = false } = {}): Promise<string> {
  const address = readFileSync(addressFile, 'utf8')
  const name = `test_${randomBytes(6).toString('hex')}`
  await sql(address, `create database ${name} template ${empty ? 'template0' : template}`)
  t.teardown(async () => { await sql(address, `drop database if exists ${name} with (force)`) })
  return named(address, name)
}
