import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { digest } from '../crypto/sealing.ts'
import { packageFolder } from '../package-folder.ts'
import { PermanentDatabaseError } from './connection-error.ts'

/** A migration of this version of Latchkey. */
export interface Migration { version: number, name: string, sql: string, checksum: string }

/** The database and the migrations do not fit together. Waiting does not help. */
export class MigrationError extends PermanentDatabaseError {}

const migrationsFolder = join(packageFolder, 'migrations')

/**
 * Reads the migrations of a folder: the files `NNN-name.sql`, whose numbers have no gap. Throws a
 * MigrationError if a file has another name.
 */
export function readMigrations (folder = migrationsFolder): Migration[] {
  return readdirSync(folder).filter(file => file.endsWith('.sql')).sort().map((file, index) => {
    const version = Number(/^(\d{3})-[a-z0-9-]+\.sql$/.exec(file)?.[1])
    if (version !== index + 1) {
      throw new MigrationError(`${file} should be migration ${index + 1}, named NNN-name.sql`)
    }
    // The line ends of a checkout do not change the checksum.
    const sql = readFileSync(`${folder}/${file}`, 'utf8').replaceAll('\r\n', '\n')
    return { version, name: file, sql, checksum: digest(sql).toString('hex') }
  })
}
