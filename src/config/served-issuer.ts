import { readFileSync, writeFileSync } from 'node:fs'
import { dataFolder, defaultIssuer, type Config } from './config.ts'

// With the embedded database, a command finds the service's data in the folder, and so its address as well.
const file = `${dataFolder}/issuer`

/** Leaves the issuer for commands that use the embedded database of this service. */
export function recordIssuer ({ databaseUrl, issuer }: Config): void {
  if (databaseUrl !== undefined) return
  try {
    writeFileSync(file, issuer)
  } catch {
    // A command can be told the address with PORT.
  }
}

/**
 * What the links of a command begin with. Without a setting for it, that is the address of the service which
 * used the embedded database last.
 */
export function linksUrlOf ({ databaseUrl, mail: { linksUrl } }: Config): string {
  if (databaseUrl !== undefined || linksUrl !== defaultIssuer) return linksUrl
  try {
    const issuer = readFileSync(file, 'utf8').trim()
    return URL.canParse(issuer) ? issuer : linksUrl
  } catch {
    // No service has used it yet.
    return linksUrl
  }
}
