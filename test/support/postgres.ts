import { createHash, randomBytes } from 'node:crypto'
import { existsSync, readFileSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import type { Teardown } from './teardown.ts'

// On Linux, this folder is in memory: creating and deleting a database there takes a third of the time. The
// size of it decides, and not what is free, so that all processes of a run choose the same folder.
const memory = '/dev/shm'
const neededBytes = 4 * 2 ** 30
function hasMemory (): boolean {
  if (!existsSync(memory)) return false
  const { blocks, bsize } = statfsSync(memory)
  return blocks * bsize >= neededBytes
}
const checkout = createHash('sha256').update(process.cwd()).digest('hex').slice(0, 12)
/** The folder in which the server of this checkout's tests keeps its data, and leaves its address. */
export const folder = join(hasMemory() ? memory : tmpdir(), `latchkey-test-${checkout}`)
export const addressFile = join(folder, 'address')
export const template = 'latchkey_template'

/** The address of a database of the test server, given the address of any other of it. */
export function named (address: string, database: string): string {
  const url = new URL(address)
  url.pathname = `/${database}`
  return url.href
}

/** The connections to the databases that this process has created. */
const pools = new Map<string, pg.Pool>()

/**
 * Runs one statement: in a database of `createDatabase` on one of its kept connections, otherwise on a new
 * one.
 */
export async function sql<Row extends object> (
  url: string, text: string, values: unknown[] = []
): Promise<Row[]> {
  const pool = pools.get(url)
  if (pool) return await runOnPool<Row>(pool, text, values)
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query<Row>(text, values)).rows
  } finally {
    await client.end()
  }
}

/** Runs one statement, a second time if the test had ended the kept connection. */
async function runOnPool<Row extends object> (
  pool: pg.Pool, text: string, values: unknown[]
): Promise<Row[]> {
  try {
    return (await pool.query<Row>(text, values)).rows
  } catch (error) {
    const isLost = Object(error).code === '57P01' || /Connection terminated/.test(String(error))
    if (!isLost) throw error
    return (await pool.query<Row>(text, values)).rows
  }
}

/** A database of its own, migrated unless `empty`, that is dropped when the test ends. */
export async function createDatabase (t: Teardown, { empty = false } = {}): Promise<string> {
  const address = readFileSync(addressFile, 'utf8')
  const name = `test_${randomBytes(6).toString('hex')}`
  // Copying the files costs a fifth of what logging each page would.
  await sql(address, `create database ${name} template ${empty ? 'template0' : template} strategy file_copy`)
  const url = named(address, name)
  const pool = new pg.Pool({ connectionString: url, max: 10, allowExitOnIdle: true })
  // Tests end connections, and dropping the database does. What fails then is the statement, if there is one.
  const ignore = () => {}
  pool.on('error', ignore).on('connect', client => { client.on('error', ignore) })
  pools.set(url, pool)
  t.teardown(async () => {
    pools.delete(url)
    await pool.end()
    await sql(address, `drop database if exists ${name} with (force)`)
  })
  return url
}
