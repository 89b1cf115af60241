import type { Config } from './config.ts'

// That of the setting PORT.
const defaultPort = 3_000

/**
 * What stands before a command of this program in another terminal, so that its links lead to this service:
 * `PORT=4000 `, or nothing if that terminal would assume the same. With the embedded database, a command
 * finds the address by itself (`linksUrlOf`).
 */
export function commandPrefix (
  { databaseUrl, issuer, port }: Pick<Config, 'databaseUrl' | 'issuer' | 'port'>
): string {
  if (databaseUrl === undefined || port === defaultPort) return ''
  return issuer === `http://localhost:${port}` ? `PORT=${port} ` : ''
}
