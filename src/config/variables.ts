import { parse as roles } from '../syntax/roles.ts'
import { base, boolean, duration, integer, keys, list, oneOf, origin, proxies, rangeUrl, rate, redis, sender, smtp, timer, title, url } from './values.ts'

/** One environment variable: how its text becomes a value, and what `.env.example` says of it. */
export interface Variable<T> {
  parse: (text: string) => T
  /** The text that stands for it when it is unset; none when absence itself has a meaning. */
  preset: string | undefined
  /** What holds when it is unset and `preset` does not say it. */
  unset?: string
  meaning: string
  /** May also be given as a file's name in the variable of this name with `_FILE` appended. */
  secret?: boolean
}

const variable = <T>(preset: string, parse: (text: string) => T, meaning: string) => ({ preset, parse, meaning })
const optional = <T>(unset: string, parse: (text: string) => T, meaning: string, secret = false) =>
  ({ preset: undefined, unset, parse, meaning, secret })

/** Every variable the service reads, in the order of `.env.example`. */
export const variables = {
  NODE_ENV: variable('development', oneOf('development', 'production', 'test'), '`production` demands DATABASE_URL, KEY_ENCRYPTION_KEY and an https ISSUER_URL'),
  DATABASE_URL: optional('an embedded PostgreSQL under .data/', text => url(text, ['postgres:', 'postgresql:']).href, 'PostgreSQL 15 to 18, as postgres://user@host:5432/name', true),
  DATABASE_PASSWORD: optional('the one in DATABASE_URL', text => text, 'the password for DATABASE_URL, where it is kept apart from it', true),
  DATABASE_OWNER_URL: optional(
    'the schema belongs to the role of DATABASE_URL', text => url(text, ['postgres:', 'postgresql:']).href,
    'address for migrations alone: the same database, and a role that is a member of latchkey_owner, ' +
    'which then owns the schema (docs/database-roles.md)', true),
  DATABASE_OWNER_PASSWORD: optional(
    'the one in DATABASE_OWNER_URL', text => text,
    'the password for DATABASE_OWNER_URL, if it is kept apart from it', true),
  ISSUER_URL: variable('http://localhost:3000', origin, 'the origin that browsers and services reach this service at: `iss` of its tokens; https makes cookies Secure'),
  SERVICE_NAME: variable('Latchkey', title, 'what users know the service by; no password may contain it'),
  AUDIENCE: optional('ISSUER_URL', text => text, '`aud` of access tokens'),
  HOST: variable('127.0.0.1', text => text, 'address to listen on'),
  PORT: variable('3000', integer(0, 65535), 'port to listen on'),
  METRICS: optional('public; off in production', oneOf('public', 'off'), '`public` serves /metrics on PORT, where everyone can read it; `off` does not'),
  METRICS_PORT: optional('METRICS decides', integer(1, 65535), 'a port of its own for /metrics, on HOST; METRICS then has no effect; do not publish this port'),
  DOCS: variable('on', oneOf('on', 'off'), 'whether the page /docs is served; /openapi.json always is'),
  TRUST_PROXY: variable('off', proxies, 'addresses and CIDR ranges of the proxies in front, comma separated: only from them X-Forwarded-* is believed'),
  CORS_ORIGINS: variable('', text => list(text).map(origin), 'further origins, comma separated, whose pages may call with credentials'),
  KEY_ENCRYPTION_KEY: optional('one is made and kept under .data/', keys, '32 bytes in base64 that seal the private keys at rest; several, comma separated, while one is replaced: the first seals', true),
  ROLES: variable('', roles, 'further roles beside user and admin, comma separated, each with the scopes that it gives to the tokens of those who have it: support,editor=articles:read+articles:write; user and admin may be given scopes so, too'),
  ACCESS_TOKEN_TTL: variable('15m', duration(), 'life of an access token'),
  REFRESH_TOKEN_TTL: variable('7d', duration(), 'how long a session lives without a refresh'),
  SESSION_TTL: variable('30d', duration(), 'how long a session lives at most'),
  REMEMBERED_SESSION_TTL: variable('90d', duration(), 'the same for a sign-in with `remember`'),
  REFRESH_REPLAY_GRACE: variable('10s', duration(0), 'for how long after its successor was used a spent refresh token is only refused; later its use ends the session'),
  REFRESH_RETRY_WINDOW: optional('no limit', duration(), 'for how long after its first use a refresh token may be presented again while no successor was used'),
  MAX_SESSIONS_PER_USER: variable('100', integer(1, 1_000), 'how many sessions a user may have; a further sign-in ends the oldest'),
  REVOCATION_STALE_LIMIT: optional('no limit', duration(), 'for how long access tokens are still accepted here while the database is away, and with it word of ended sessions'),
  AUDIT_RETENTION: variable('365d', duration(), 'how long audit events are kept; the last day is always kept'),
  SIGNING_ALGORITHM: variable('ES256', oneOf('ES256', 'EdDSA', 'RS256'), 'algorithm of new signing keys'),
  SIGNING_KEY_ROTATION: variable('30d', duration(), 'how long a key signs, of access tokens as of refresh tokens, before its successor does'),
  JWKS_MAX_AGE: variable('5m', duration(), 'how long others may cache the JWKS; a new signing key is published for twice as long before it signs'),
  SMTP_URL: optional('no mail is sent; in development it is shown in the log', smtp, 'the mail server, as smtp://user:password@host:587, or smtps:// for TLS from the start', true),
  SMTP_TLS: optional('required of a mail server on another host than this one', oneOf('required', 'optional'), 'whether mail goes over TLS alone; optional: without where the server does not offer it, but never so with a password to another host'),
  MAIL_FROM: optional('needed with SMTP_URL', sender, 'what mails come from, as login@example.com or Example <login@example.com>'),
  MAIL_TEMPLATES: optional('those that are shipped', text => text, 'a folder with templates of your own, in the place of the shipped ones of the same names'),
  LINKS_URL: optional('pages of this service', base, 'where pages of your own stand that mailed links lead to: /email-verification, /password-reset and /magic-link under it'),
  HOME_URL: optional('they say that they are done, and no more', text => url(text, ['https:', 'http:']).href, 'where the pages behind mailed links lead to when they are done: your application'),
  REQUIRE_EMAIL_VERIFICATION: variable('false', boolean, 'whether an address must be proved before its account can be used'),
  EMAIL_VERIFICATION_TTL: variable('24h', duration(), 'how long a link that proves an address is good for, and an invitation'),
  PASSWORD_RESET_TTL: variable('30m', duration(), 'how long a link that sets a new password is good for'),
  MAGIC_LINK_TTL: variable('10m', duration(), 'how long a link that signs in is good for'),
  EMAIL_UNDO_TTL: variable('7d', duration(), 'how long a change of address can be undone from the old one'),
  ARGON2_MEMORY_KIB: variable('19456', integer(1024, 4194304), 'memory of one password hash'),
  ARGON2_TIME_COST: variable('2', integer(1, 1000), 'passes of one password hash'),
  ARGON2_PARALLELISM: variable('1', integer(1, 64), 'lanes of one password hash'),
  ARGON2_CONCURRENCY: optional('the number of cores', integer(1, 1024), 'how many passwords are hashed at a time'),
  ARGON2_BUILD: variable('auto', oneOf('auto', 'avx512', 'avx2', 'prebuilt'), 'which build of argon2 hashes; auto takes the best that was made (npm run build:argon2) and works here'),
  RATE_LIMIT: variable('300/1m', rate, 'requests a network (an IPv4 address or IPv6 /64) may make, all routes together, or off; apart from them a fifth of it to routes that take a password, and ten times as many to those that services call'),
  REDIS_URL: optional('each instance counts by itself', redis, 'Redis where several instances count the requests of a network together, as redis://user:password@host:6379/0, or rediss:// for TLS', true),
  LOGIN_RATE_LIMIT: variable('5/15m', rate, 'wrong passwords for one account (its e-mail address and its username apart) from one network, or from one known device, after which waits begin: half a minute, doubled by each further one up to an hour; or off'),
  LOGIN_NETWORK_LIMIT: variable('50/15m', rate, 'the same from one network over all accounts'),
  LOGIN_ACCOUNT_LIMIT: variable('100/24h', rate, 'the same for one account from everywhere, but for its known devices'),
  WEBHOOK_PRIVATE_NETWORKS: variable('off', proxies, 'addresses and CIDR ranges, comma separated, that webhooks may be sent to although they are not public; over http, too'),
  PASSWORD_MIN_LENGTH: variable('8', integer(8, 64), 'shortest password accepted, in code points'),
  BREACHED_PASSWORDS_URL: optional('none is asked', rangeUrl, 'where new passwords are looked up among breached ones, by five digits of their SHA-1 that are appended: https://api.pwnedpasswords.com/range/'),
  PASSWORD_PEPPER: variable('false', boolean, 'whether password hashes are of no use without a secret that KEY_ENCRYPTION_KEY seals; existing ones follow when their owners sign in'),
  MIGRATE_ON_START: variable('true', boolean, 'bring the database schema up to date at start; false where `latchkey migrate` runs before'),
  REQUEST_TIMEOUT: variable('10s', duration(1, timer), 'how long a request may take, to arrive and to be answered'),
  KEEP_ALIVE_TIMEOUT: variable('75s', duration(1, timer), 'how long a connection may be idle between two requests; set it longer than the idle timeout of the proxy or load balancer in front'),
  DRAIN_DELAY: optional('0s; 5s in production', duration(0, timer), 'how long /readyz says no before the port is closed on SIGTERM'),
  SHUTDOWN_TIMEOUT: variable('15s', duration(1, timer), 'when a shutdown that hangs is cut off'),
  LOG_LEVEL: variable('info', oneOf('fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'), 'least severe level that is logged')
} satisfies Record<string, Variable<unknown>>

/** The text of `.env.example`: every variable with its default and a line of meaning. */
export const example = () => Object.entries<Variable<unknown>>(variables).map(([name, { preset, unset, meaning, secret }]) =>
  `# ${meaning}${unset ? `; unset: ${unset}` : ''}${secret ? ` (or a file's name in ${name}_FILE)` : ''}\n#${name}=${preset ?? ''}\n`).join('\n')
