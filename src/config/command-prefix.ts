import type { Config } from './config.ts'

// That of the setting PORT.
const defaultPort = 3_000

/**
 * What stands before a command of this program in another terminal, so that its links lead to this service:
 * `PORT=4000 `, or nothing if that terminal would assume the same.
 */
export const commandPrefix = ({ issuer, port }: Pick<Config, 'issuer' | 'port'>): string =>
  port !== defaultPort && issuer === `http://localhost:${port}` ? `PORT=${port} ` : ''
