import { randomBytes } from 'node:crypto'
import type { FastifyInstance, RouteOptions } from 'fastify'
import { load } from '../../src/config/config.ts'
import type { Environment } from '../../src/config/environment.ts'
import { keyEncryptionKeys } from '../../src/config/key-encryption.ts'
import { build as buildServer } from '../../src/server/http-server.ts'
import { Browser } from './client.ts'
import { shareContract } from './contract.ts'
import { insertIdTokenKey } from './id-token-key.ts'
import { createDatabase, sql } from './postgres.ts'
import type { Teardown } from './teardown.ts'

export const keyEncryptionKey = randomBytes(32)

/** Cheap hashing and no limits: what a test is not about. */
export const environment: Environment = {
  NODE_ENV: 'test',
  RATE_LIMIT: 'off',
  LOGIN_RATE_LIMIT: '1000000/1h',
  LOGIN_NETWORK_LIMIT: '1000000/1h',
  LOGIN_ACCOUNT_LIMIT: '1000000/1h',
  ARGON2_MEMORY_KIB: '1024',
  ARGON2_TIME_COST: '1',
  ARGON2_CONCURRENCY: '2',
  KEY_ENCRYPTION_KEY: keyEncryptionKey.toString('base64')
}

export interface Service {
  app: FastifyInstance
  url: string
  /** Every line logged so far. */
  logs: Array<Record<string, unknown>>
  /** The logs of all instances on its database. Any of them may run a job or housekeeping. */
  allLogs: () => Array<Record<string, unknown>>
  /** Runs one statement on the service's database. */
  sql: <Row extends object>(text: string, values?: unknown[]) => Promise<Row[]>
  browser: () => Browser
}

interface BuildOptions {
  url?: string
  ready?: boolean
  /** Milliseconds without a request after which the service is idle. */
  idleAfterMs?: number
  redisTimeoutMs?: number
  lockTimeoutMs?: number
  revocationPollMs?: number
  /** Called with every route of the service, including hidden ones. `this` is the plugin that adds it. */
  onRoute?: (this: FastifyInstance, route: RouteOptions) => void
}

const logsOn = new Map<string, Array<Service['logs']>>()

/** On a busy machine, Redis may need longer than the service waits by itself. */
const patientRedisTimeoutMs = 3_000

/** The service on a database of its own, or on the one at `url`; closed with the test. */
export async function build (
  t: Teardown,
  overrides: Environment = {},
  {
    url, ready = true, onRoute, idleAfterMs, redisTimeoutMs = patientRedisTimeoutMs, lockTimeoutMs,
    revocationPollMs
  }: BuildOptions = {}
): Promise<Service> {
  const databaseUrl = url ?? (await createDatabase(t))
  const config = load({ ...environment, ...overrides })
  const keys = keyEncryptionKeys(config)
  if (url === undefined && config.signing.algorithm !== 'RS256') {
    await insertIdTokenKey(databaseUrl, keys, config.lifetimes.accessTokenSeconds)
  }
  const logs: Service['logs'] = []
  const logsOfInstances = [...(logsOn.get(databaseUrl) ?? []), logs]
  logsOn.set(databaseUrl, logsOfInstances)
  const app = buildServer(
    {
      config,
      databaseUrl,
      keyEncryptionKeys: keys,
      ...idleAfterMs !== undefined && { idleAfterMs },
      redisTimeoutMs,
      lockTimeoutMs,
      revocationPollMs
    },
    {
      write: (line: string) => {
        logs.push(JSON.parse(line))
      }
    }
  )
  shareContract(app, overrides)
  if (onRoute) app.addHook('onRoute', onRoute)
  // The service's own timers keep no process alive.
  const alive = setInterval(() => {}, 1_000)
  // Before the database is dropped: teardown runs the last one first.
  t.teardown(async () => {
    await app.close()
    clearInterval(alive)
    // Its process may run many more tests. Other instances may go on until the database is dropped.
    if (url === undefined) logsOn.delete(databaseUrl)
  })
  await app.ready()
  if (ready) await Promise.all([app.keyring.loaded, app.revocations.loaded])
  return {
    app,
    url: databaseUrl,
    logs,
    allLogs: () => (logsOn.get(databaseUrl) ?? []).flat(),
    sql: (text, values) => sql(databaseUrl, text, values),
    browser: () => new Browser(app)
  }
}

// A type, because an interface has no index signature and so is no `Record<string, string>`.
export type UserCredentials = { email: string, password: string }

let userCount = 0
/** An unused address, with a password that the policy accepts. */
export const newUser = (): UserCredentials => {
  userCount++
  return {
    email: `person-${userCount}-${process.pid}@example.com`,
    password: `correct horse ${randomBytes(6).toString('hex')}`
  }
}
