import type { EventEmitter } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { exitCode } from './config/config-error.ts'
import { dataFolder, type Config } from './config/config.ts'
import { environment } from './config/environment.ts'
import { keyEncryptionKeys } from './config/key-encryption.ts'
import { misspellingWarnings } from './config/misspellings.ts'
import { recordIssuer } from './config/served-issuer.ts'
import * as embeddedPostgres from './database/embedded/embedded-postgres.ts'
import { announce } from './server/announcement.ts'
import { DrainingServer } from './server/draining-server.ts'
import { build } from './server/http-server.ts'
import { createLogOutput } from './server/log-output.ts'
import { pauseUntilShutdown, Shutdown } from './server/shutdown.ts'
import { explainStartError } from './server/start-error.ts'
import { listeningMessage } from './server/terminal-log.ts'

// A database that is away does not delay the start for longer, but wrong keys are reported before it.
const databasePatienceMs = 3_000
const maxIdleMs = 1_000

/**
 * Runs the service, with the embedded database if none is configured, until a signal or a permanent error
 * ends the process: exit code 0 after a signal, 1 after an error, 78 if the configuration does not fit the
 * database. Throws if the service cannot start.
 */
export async function serve (config: Config, signals: EventEmitter): Promise<void> {
  const output = createLogOutput(config)
  let database: embeddedPostgres.EmbeddedPostgres | undefined
  let server: FastifyInstance | undefined
  const log = (level: 'info' | 'error' | 'fatal', message: string, detail: object = {}) =>
    server?.log[level](detail, message)
  const closeAll = async () => {
    await server?.close()
    await database?.stop()
  }
  const shutdown = new Shutdown({
    log,
    timeout: config.shutdownTimeout,
    close: async code => {
      await starting.catch(() => {})
      if (code === 0 && server?.server.listening) await pause(config.drainDelay * 1_000)
      await closeAll()
    }
  })

  const isStopping = () => shutdown.hasBegun

  async function start (): Promise<void> {
    if (config.databaseUrl === undefined) {
      output.terminal?.print(`Starting the embedded PostgreSQL in ${dataFolder}/ …\n`)
      database = await embeddedPostgres.start(
        dataFolder, { log: (message, detail) => log('info', message, detail) }
      )
    }
    if (isStopping()) return
    server = build({
      config,
      databaseUrl: config.databaseUrl ?? database?.url ?? '',
      keyEncryptionKeys: keyEncryptionKeys(config),
      isDraining: isStopping,
      idleMs: Math.min(maxIdleMs, (config.shutdownTimeout - config.drainDelay) * 250)
    }, output)
    for (const warning of misspellingWarnings(environment())) server.log.warn(warning)
    await server.ready()
    const loaded = Promise.all([server.keyring.loaded, server.revocations.loaded])
    await Promise.race([loaded, pauseUntilShutdown(databasePatienceMs, shutdown)])
    if (isStopping()) return
    await listen(server, config)
    recordIssuer(config)
  }

  shutdown.listen(signals)
  const starting = start()
  try {
    await starting
  } catch (error) {
    // A signal that came meanwhile ends the process by itself.
    if (isStopping()) return
    await closeAll().catch(() => {})
    throw explainStartError(error, config)
  }
  if (!server || isStopping()) return
  server.keyring.loaded.catch((error: unknown) => {
    const reason = explainStartError(error, config)
    if (!isStopping()) shutdown.begin(exitCode(reason), reason.message, error)
  })
  announce({ server, config, database, terminal: output.terminal })
}

async function listen (server: FastifyInstance, { host, port }: Config): Promise<void> {
  await server.listen({ host, port, listenTextResolver: address => `${listeningMessage} ${address}` })
  if (host === 'localhost' && server.server instanceof DrainingServer) {
    await server.server.listenOnFurtherAddresses(host)
  }
}
