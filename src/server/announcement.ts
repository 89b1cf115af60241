import type { FastifyInstance } from 'fastify'
import type { Config } from '../config/config.ts'
import type { EmbeddedPostgres } from '../database/embedded/embedded-postgres.ts'
import { version } from '../version.ts'
import { banner } from './banner.ts'
import type { TerminalLog } from './terminal-log.ts'

export interface Announced {
  server: FastifyInstance
  config: Config
  database: EmbeddedPostgres | undefined
  /** Present if the log is for a person, who gets a banner instead of lines of the log. */
  terminal: TerminalLog | undefined
}

/** Says where the service is, and what it uses. */
export function announce ({ server, config, database, terminal }: Announced): void {
  const { issuer, docs } = config
  if (terminal) {
    const isDatabaseReachable = server.keyring.isLoaded()
    terminal.print(banner({ config, version, embedded: database, isDatabaseReachable }))
  } else {
    server.log.info({ version, url: issuer, ...docs && { docs: `${issuer}/docs` } }, 'service started')
    server.log.info({ build: server.passwords.build }, 'password hashing uses argon2')
    if (database) {
      server.log.info({ folder: database.dataDir, version: database.version }, 'embedded PostgreSQL in use')
    }
  }
  const expected = localPort(issuer)
  const actual = actualPort(server, config)
  if (expected !== undefined && expected !== actual) {
    server.log.warn({ issuer, host: config.host, port: actual }, `ISSUER_URL is ${issuer}, but the service ` +
      `listens on port ${actual}: browsers are refused unless a proxy stands between; set ISSUER_URL or PORT`)
  }
}

/** The port of an issuer on this machine; undefined for an issuer elsewhere, which a proxy serves. */
function localPort (issuer: string): number | undefined {
  const { hostname, port, protocol } = new URL(issuer)
  const isLocal = protocol === 'http:' && ['localhost', '127.0.0.1', '[::1]'].includes(hostname)
  return isLocal ? Number(port || 80) : undefined
}

function actualPort (server: FastifyInstance, { port }: Config): number {
  const address = server.server.address()
  return typeof address === 'object' ? address?.port ?? port : port
}
