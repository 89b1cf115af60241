import pg from 'pg'
import { parse as parseDatabase } from '../syntax/database-url.ts'
import type { Config } from './config.ts'
import { isLoopback } from './addresses.ts'

const hourSeconds = 3_600
const daySeconds = 24 * hourSeconds

/** Warnings about settings that are allowed in production, but are probably mistakes. */
export function productionWarnings (config: Config): string[] {
  if (!config.production) return []
  return [
    ...config.isHostDefault ? [hostWarning] : [],
    ...transportWarnings(config),
    ...limitWarnings(config),
    ...lifetimeWarnings(config),
    ...secretWarnings(config)
  ]
}

const hostWarning = 'HOST is not set: the service listens on 127.0.0.1, which only programs on this ' +
  'machine reach; set HOST=0.0.0.0 for other machines and containers, or HOST=127.0.0.1 if none needs it'

const implicitTlsPort = '465'
const startTlsPort = '587'

/** Warnings about settings that are probably mistakes everywhere. */
export function settingWarnings ({ mail: { smtpUrl } }: Config): string[] {
  if (smtpUrl === undefined) return []
  const { protocol, port } = new URL(smtpUrl)
  if (protocol === 'smtp:' && port === implicitTlsPort) {
    return ['SMTP_URL begins with smtp://, but port 465 is for TLS from the start: use smtps://, or port 587']
  }
  if (protocol === 'smtps:' && port === startTlsPort) {
    return ['SMTP_URL begins with smtps://, but port 587 is for STARTTLS: use smtp://, or port 465']
  }
  return []
}

type DatabaseVariable = 'DATABASE_URL' | 'DATABASE_DIRECT_URL' | 'DATABASE_OWNER_URL'

function transportWarnings (config: Config): string[] {
  const warnings: string[] = []
  const databases: Array<[DatabaseVariable, string | undefined]> = [
    ['DATABASE_URL', config.databaseUrl], ['DATABASE_DIRECT_URL', config.databaseDirectUrl],
    ['DATABASE_OWNER_URL', config.databaseOwnerUrl]]
  for (const [name, address] of databases) {
    if (address === undefined) continue
    const tls = tlsOf(databaseClient(address).ssl)
    const host = remoteHosts(address).join(', ')
    if (host === '') continue
    if (tls === 'none') {
      warnings.push(`${name} reaches ${host} without TLS: what is sent can be read on the way; ` +
        'use sslmode=verify-full')
    } else if (tls === 'unverified') {
      warnings.push(`${name} reaches ${host} without verifying its certificate: use sslmode=verify-full`)
    }
  }
  if (config.redisUrl !== undefined) {
    const { protocol, hostname } = new URL(config.redisUrl)
    if (protocol === 'redis:' && !isLoopback(hostname)) {
      warnings.push(`REDIS_URL reaches ${hostname} without TLS: what is sent can be read on the way; ` +
        'use rediss://')
    }
  }
  return warnings
}

/** The driver's client for an address, with its defaults from the environment. It does not connect. */
function databaseClient (address: string): pg.Client {
  const { options, hosts: [first] } = parseDatabase(address)
  return new pg.Client({ ...options, ...first })
}

/** The hosts of an address that are other machines. */
function remoteHosts (address: string): string[] {
  const { hosts } = parseDatabase(address)
  const names = hosts.length > 0 ? hosts.map(({ host }) => host) : [databaseClient(address).host]
  return names.filter(host => !host.startsWith('/') && !isLoopback(host))
}

function tlsOf (ssl: unknown): 'none' | 'unverified' | 'verified' {
  if (ssl === undefined || ssl === null || ssl === false) return 'none'
  const options: { rejectUnauthorized?: unknown } = typeof ssl === 'object' ? ssl : {}
  return options.rejectUnauthorized === false ? 'unverified' : 'verified'
}

function limitWarnings ({ rateLimit, throttle }: Config): string[] {
  const warnings: string[] = []
  if (rateLimit === 'off') {
    warnings.push('RATE_LIMIT is off: nothing bounds the requests of a client; set a limit, such as 300/1m')
  }
  if (Object.values(throttle).every(limit => limit === 'off')) {
    warnings.push('LOGIN_RATE_LIMIT, LOGIN_NETWORK_LIMIT and LOGIN_ACCOUNT_LIMIT are off: ' +
      'nothing slows down password guessing; set at least one')
  }
  return warnings
}

function lifetimeWarnings ({ lifetimes, links, audience }: Config): string[] {
  const warnings: string[] = []
  if (lifetimes.accessTokenSeconds > daySeconds) {
    warnings.push('ACCESS_TOKEN_TTL is longer than a day: a service that does not follow the revocation ' +
      'feed accepts a token for that long after a sign-out; use minutes, such as 15m')
  }
  if (lifetimes.replayGraceSeconds > hourSeconds) {
    warnings.push('REFRESH_REPLAY_GRACE is longer than an hour: ' +
      'for that long the reuse of a stolen refresh token ends no session; use seconds, such as 10s')
  }
  if (links.passwordResetSeconds > daySeconds) {
    warnings.push('PASSWORD_RESET_TTL is longer than a day: an old mail is enough to set a password; ' +
      'use minutes, such as 30m')
  }
  if (links.magicLinkSeconds > daySeconds) {
    warnings.push('MAGIC_LINK_TTL is longer than a day: an old mail is enough to sign in; ' +
      'use minutes, such as 10m')
  }
  if (/[\s,]/.test(audience)) warnings.push('AUDIENCE has a comma or a space: it is one value, not a list')
  return warnings
}

type Secret = [name: string, secret: string | undefined]

function secretWarnings (config: Config): string[] {
  const ofUrl = (address: string | undefined) =>
    address === undefined ? undefined : decodeURIComponent(new URL(address).password)
  const ofDatabase = (address: string | undefined) =>
    address === undefined ? undefined : databaseClient(address).password
  const secrets: Secret[] = [
    ['the password of DATABASE_URL', ofDatabase(config.databaseUrl)],
    ['the password of DATABASE_OWNER_URL', ofDatabase(config.databaseOwnerUrl)],
    ['the password of REDIS_URL', ofUrl(config.redisUrl)],
    ['the password of SMTP_URL', ofUrl(config.mail.smtpUrl)],
    ...(config.keyEncryptionKeys ?? []).map((key): Secret => ['KEY_ENCRYPTION_KEY', key.toString('base64')])
  ]
  const names = new Map<string, string>()
  const warnings: string[] = []
  for (const [name, secret] of secrets) {
    if (secret === undefined || secret === '') continue
    const other = names.get(secret)
    if (other !== undefined && other !== name) {
      warnings.push(`${other} and ${name} are the same: give each a secret of its own`)
    }
    names.set(secret, name)
  }
  return warnings
}
