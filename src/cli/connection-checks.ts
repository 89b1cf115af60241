import type { Config } from '../config/config.ts'

/** What a server answered to an attempt to use it. */
export interface ConnectionCheck { variable: string, ok: boolean, answer: string }

/** Tries the configured database, Redis and mail server, all at once. Sends no mail. Never throws. */
export async function checkConnections (config: Config): Promise<ConnectionCheck[]> {
  const { databaseUrl, databaseDirectUrl, databaseOwnerUrl, redisUrl, mail: { smtpUrl } } = config
  const databases = [
    ['DATABASE_URL', databaseUrl], ['DATABASE_DIRECT_URL', databaseDirectUrl],
    ['DATABASE_OWNER_URL', databaseOwnerUrl]
  ] as const
  const checks = [
    ...databases.map(([variable, url]) =>
      url !== undefined && tryServer(variable, async () => await askDatabase(url, variable))),
    redisUrl !== undefined && tryServer('REDIS_URL', async () => await askRedis(redisUrl)),
    smtpUrl !== undefined && tryServer('SMTP_URL', async () => await askMailServer(config))
  ]
  return await Promise.all(checks.filter(check => check !== false))
}

/** The variables of the servers that the service would use if they were set. */
export function unsetServers ({ databaseUrl, redisUrl, mail: { smtpUrl } }: Config): string[] {
  const servers = { DATABASE_URL: databaseUrl, REDIS_URL: redisUrl, SMTP_URL: smtpUrl }
  return Object.entries(servers).filter(([, url]) => url === undefined).map(([variable]) => variable)
}

async function tryServer (variable: string, ask: () => Promise<string>): Promise<ConnectionCheck> {
  try {
    return { variable, ok: true, answer: await ask() }
  } catch (error) {
    return { variable, ok: false, answer: messageOf(error) }
  }
}

async function askDatabase (url: string, variable: string): Promise<string> {
  const { withClient } = await import('../database/migration-connection.ts')
  return await withClient(url, async client => {
    const { rows: [row] } = await client.query<{ version: string, role: string }>(
      "select current_setting('server_version') as version, current_user as role"
    )
    return `PostgreSQL ${row?.version}, signed in as ${row?.role}`
  }, variable)
}

async function askRedis (url: string): Promise<string> {
  const { createRedisCounters } = await import('../throttle/redis-counters.ts')
  let failure: unknown
  const counters = createRedisCounters({
    url, windowSeconds: 1, onUnavailable: reason => { failure = reason }, onAvailable: () => {}
  })
  try {
    await counters.firstAttempt
    if (!counters.isAvailable) throw failure
    return 'Redis counts'
  } finally {
    counters.close()
  }
}

async function askMailServer ({ issuer, mail }: Config): Promise<string> {
  const { smtpUrl: url = '', smtpTls: tls, smtpOauth: oauth, from = { name: '', address: '' } } = mail
  const { smtpTransport } = await import('../mail/transport.ts')
  const { hostname: domain } = new URL(issuer)
  const transport = smtpTransport({ url, tls, oauth, from, domain, maxConnections: 1 })
  try {
    await transport.verify()
    return new URL(url).username === ''
      ? 'the mail server answered; SMTP_URL has no user, so no sign-in was tried'
      : 'the mail server accepted the sign-in'
  } finally {
    transport.close()
  }
}

// A host with two addresses fails twice, in an error without a message.
const messageOf = (error: unknown): string => error instanceof AggregateError
  ? error.errors.map(messageOf).join(', ')
  : error instanceof Error ? error.message : String(error)
