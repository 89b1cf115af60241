import { parse as parseRoles } from '../syntax/roles.ts'
import {
  parseBaseUrl, parseDatabaseUrl, parseNetworks, parseRangeUrl, parseWebUrl
} from './addresses.ts'
import { parseColor, parseLogo } from './brand.ts'
import { parseIssuer, parsePageOrigin, parseSchemes } from './origins.ts'
import { parseProxies } from './proxies.ts'
import { parseHost, parseRedisUrl, parseSender, parseSmtpUrl } from './servers.ts'
import {
  maxTimerDays, parseBoolean, parseDisplayName, parseDuration, parseInteger, parseKeys, parseNamespace,
  parseRate, parseText, parseWord, parseWords, splitList
} from './values.ts'
import { optional, secret, variable, type Variable } from './variable.ts'

/** Every variable that the service reads, in the order of `.env.example`. */
export const variables = {
  NODE_ENV: variable('development', parseWord('development', 'production', 'test'),
    'the kind of environment: `development`, `test` or `production`; `production` requires DATABASE_URL, ' +
    'KEY_ENCRYPTION_KEY and an https ISSUER_URL'),
  DATABASE_URL: secret('an embedded PostgreSQL under .data/', parseDatabaseUrl('DATABASE_PASSWORD'),
    'the database, PostgreSQL 15 to 18, such as postgres://user@host:5432/name'),
  DATABASE_PASSWORD: secret('the password in DATABASE_URL', parseText,
    'the password for DATABASE_URL and DATABASE_DIRECT_URL, if it is kept apart from the URL'),
  DATABASE_DIRECT_URL: secret(
    'migrations and notifications use DATABASE_URL; behind a pooler, instances poll instead',
    parseDatabaseUrl('DATABASE_PASSWORD'),
    'the URL of the same database and role that bypasses the connection pooler of DATABASE_URL; migrations ' +
    'and notifications use it (docs/poolers.md)'
  ),
  DATABASE_OWNER_URL: secret('migrations use DATABASE_DIRECT_URL, or else DATABASE_URL',
    parseDatabaseUrl('DATABASE_OWNER_PASSWORD'),
    'the URL that only migrations use: the same database, with a role that is a member of latchkey_owner; ' +
    'latchkey_owner then owns the schema (docs/database-roles.md)'),
  DATABASE_OWNER_PASSWORD: secret('the password in DATABASE_OWNER_URL', parseText,
    'the password for DATABASE_OWNER_URL, if it is kept apart from the URL'),
  IDLE_POLL_INTERVAL: optional('the same as while requests come', parseDuration({ maxDays: maxTimerDays }),
    'time between reads of the database when no request has come for a minute, such as 10m; it lets a ' +
    'serverless database sleep (docs/poolers.md#databases-that-sleep)'),
  ISSUER_URL: optional('http://localhost with the port of PORT; required in production', parseIssuer,
    'the public URL of this service, an origin with or without a path: browsers and services reach it ' +
    'there, and tokens have it as `iss`; https makes cookies Secure'),
  SERVICE_NAME: variable('Latchkey', parseDisplayName,
    'the name of the service in emails and on pages; a password must not contain it'),
  BRAND_NAME: optional('SERVICE_NAME', parseDisplayName, 'the name on pages and in emails'),
  BRAND_LOGO: optional('Latchkey\'s symbol, beside the name', parseLogo,
    'the file of your logo, an SVG, PNG, JPEG or WebP image of at most 256 KiB; pages show it, and emails ' +
    'too if it is PNG or JPEG and ISSUER_URL is https'),
  BRAND_COLOR: optional('black, and brass in dark mode', parseColor,
    'the colour of buttons on pages and in emails, such as #1177aa; the colours of texts, links and focus ' +
    'rings are computed from it so that they can be read'),
  SUPPORT_URL: optional('pages and emails have no such link', parseWebUrl,
    'the URL of your page with help, for links on pages and in emails'),
  PRIVACY_URL: optional('pages have no such link', parseWebUrl,
    'the URL of your privacy notice, for links on pages'),
  TERMS_URL: optional('pages have no such link', parseWebUrl, 'the URL of your terms, for links on pages'),
  AUDIENCE: optional('ISSUER_URL', parseText, 'the `aud` claim of access tokens'),
  HOST: optional('127.0.0.1, which other machines do not reach; 0.0.0.0 in the container image', parseHost,
    'the address to listen on, such as 0.0.0.0 or [::] for all'),
  PORT: variable('3000', parseInteger(0, 65_535), 'the port to listen on'),
  METRICS: optional('public; off in production', parseWord('public', 'off'),
    'who can read /metrics on PORT: `public` is everyone, `off` is no one'),
  METRICS_PORT: optional('METRICS decides', parseInteger(1, 65_535),
    'a separate port for /metrics on HOST; METRICS then has no effect; do not publish this port'),
  DOCS: variable('on', parseWord('on', 'off'),
    'whether the page /docs is served, `on` or `off`; /openapi.json is always served'),
  TRUST_PROXY: variable('off', parseProxies,
    'the proxies in front of the service, as comma-separated addresses, CIDR ranges and names: `loopback`, ' +
    '`linklocal`, `uniquelocal`, or `private` for all three; ' +
    'X-Forwarded-* headers from other peers are ignored'),
  CORS_ORIGINS: optional(
    'none; in development, while ISSUER_URL is http on localhost: http://localhost and http://127.0.0.1 ' +
    'on any port',
    text => splitList(text).map(parsePageOrigin),
    'further origins whose pages may send requests with credentials, separated by commas; ' +
    'an origin can have any scheme, such as tauri://localhost'),
  KEY_ENCRYPTION_KEY: secret('a key is made and kept under .data/; required in production', parseKeys,
    '32 bytes in base64 that encrypt the private keys in the database. Several keys may be given, ' +
    'separated by commas: the first encrypts, all decrypt. To replace a key, follow docs/deployment.md#keys'),
  ROLES: variable('', parseRoles,
    'roles besides user and admin, separated by commas, each with the scopes that its users\' tokens get, ' +
    'such as support,editor=articles:read+articles:write; user and admin can be given scopes too'),
  REDIRECT_SCHEMES: variable('', parseSchemes,
    'private-use schemes without a dot that the redirect URIs of native clients may have, separated by ' +
    'commas, such as myapp; other schemes must be domain names in reverse order, such as com.example.app'),
  TOKEN_CLAIMS: variable('', parseWords('email', 'email_verified', 'name', 'username', 'external_id'),
    'properties of the user that are added to access tokens, separated by commas: email, email_verified, ' +
    'name, username, external_id; everyone who sees a token can read them'),
  TOKEN_CLAIMS_NAMESPACE: optional('the claims have their plain names', parseNamespace,
    'a URI that is put before the names of the claims of TOKEN_CLAIMS, such as https://example.com/'),
  ACCESS_TOKEN_TTL: variable('15m', parseDuration(), 'lifetime of an access token'),
  REFRESH_TOKEN_TTL: variable(
    '7d', parseDuration(), 'time after which a session ends if it is not refreshed'
  ),
  SESSION_TTL: variable(
    '30d', parseDuration(),
    'time after which a session ends, however often it is refreshed, unless the sign-in had ' +
    '`"remember": true`'
  ),
  REMEMBERED_SESSION_TTL: variable(
    '90d', parseDuration(),
    'time after which a session ends, however often it is refreshed, if the sign-in had `"remember": true`'
  ),
  REFRESH_REPLAY_GRACE: variable('10s', parseDuration({ minSeconds: 0 }),
    'grace period in which a superseded refresh token is only rejected; afterwards its use ends the ' +
    'session'),
  REFRESH_RETRY_WINDOW: optional('no limit', parseDuration(),
    'time after its first use in which a refresh token can be used again, as long as its successor was ' +
    'not used; later it counts as superseded, and its use ends the session'),
  MAX_SESSIONS_PER_USER: variable('100', parseInteger(1, 1_000),
    'number of sessions that a user can have, 1,000 at most; a further sign-in ends one that can no longer ' +
    'be refreshed, or else the oldest'),
  REVOCATION_STALE_LIMIT: optional('no limit', parseDuration(),
    'time for which this service accepts access tokens while it cannot read revocations from the database'),
  AUDIT_RETENTION: variable('365d', parseDuration(),
    'time for which audit events are kept; the last day is always kept'),
  SIGNING_ALGORITHM: variable(
    'ES256', parseWord('ES256', 'EdDSA', 'RS256'),
    'algorithm of new keys that sign access tokens: `ES256`, `EdDSA` or `RS256`'
  ),
  SIGNING_KEY_ROTATION: variable('30d', parseDuration(),
    'time for which a key signs access tokens or refresh tokens before its successor does'),
  JWKS_MAX_AGE: variable('5m', parseDuration(),
    'time for which others may cache the JWKS; a new signing key is published twice as long before it signs'),
  SMTP_URL: secret(
    'emails are not sent; in development, they are shown on the start page and in the log',
    parseSmtpUrl,
    'the mail server, such as smtp://user:password@host:587, or smtps:// for TLS from the start'
  ),
  SMTP_TLS: optional('required, except for a mail server on this host', parseWord('required', 'optional'),
    'whether emails are sent only over TLS: `required`, or `optional`, which sends without TLS if the ' +
    'server does not offer it, but never a password to another host'),
  SMTP_OAUTH_TOKEN_URL: optional('the password of SMTP_URL is used', parseWebUrl,
    'the token endpoint from which the service gets access tokens for the mail server (XOAUTH2), with the ' +
    'client credentials grant; SMTP_URL then has a user and no password (docs/mail.md)'),
  SMTP_OAUTH_CLIENT_ID: optional('none; required with SMTP_OAUTH_TOKEN_URL', parseText,
    'the id of the client at that endpoint'),
  SMTP_OAUTH_CLIENT_SECRET: secret('none; required with SMTP_OAUTH_TOKEN_URL', parseText,
    'the secret of that client'),
  SMTP_OAUTH_SCOPE: variable('https://outlook.office365.com/.default', parseText,
    'the scope of those access tokens'),
  MAIL_FROM: optional('none; required with SMTP_URL', parseSender,
    'the sender of emails (RFC 5322), such as login@example.com or Example <login@example.com>; ' +
    'docs/mail.md shows how to quote a name with a comma'),
  MAIL_TEMPLATES: optional('the included templates', parseText,
    'a folder with your own templates of emails; each replaces the included one of the same name'),
  LINKS_URL: optional('pages of this service', parseBaseUrl,
    'the URL of your own pages for mailed links: /email-verification, /password-reset and /magic-link ' +
    'under it'),
  HOME_URL: optional('the pages send the user to no application', parseWebUrl,
    'the URL of your application, to which the pages send the user after a sign-in, and when they are done'),
  REQUIRE_EMAIL_VERIFICATION: variable('false', parseBoolean,
    'whether users must verify their address before they can sign in'),
  EMAIL_VERIFICATION_TTL: variable('24h', parseDuration(),
    'lifetime of a link that verifies an address, and of an invitation'),
  PASSWORD_RESET_TTL: variable('30m', parseDuration(), 'lifetime of a link that sets a new password'),
  MAGIC_LINK_TTL: variable('10m', parseDuration(), 'lifetime of a link that signs in'),
  EMAIL_UNDO_TTL: variable('7d', parseDuration(),
    'time for which the previous address can undo a change of address'),
  ARGON2_MEMORY_KIB: variable('19456', parseInteger(1_024, 4_194_304), 'memory of one password hash, in KiB'),
  ARGON2_TIME_COST: variable('2', parseInteger(1, 1_000), 'passes of one password hash'),
  ARGON2_PARALLELISM: variable('1', parseInteger(1, 64), 'lanes of one password hash'),
  ARGON2_CONCURRENCY: optional('the number of cores', parseInteger(1, 1_024),
    'number of passwords that are hashed at the same time'),
  ARGON2_BUILD: variable('auto', parseWord('auto', 'avx512', 'avx2', 'prebuilt'),
    'the build of argon2: `avx512`, `avx2`, `prebuilt`, or `auto`, which selects the fastest that was ' +
    'built (npm run build:argon2) and runs on this CPU'),
  RATE_LIMIT: variable('300/1m', parseRate,
    'requests that one network (an IPv4 address or IPv6 /64) may make in a period, or `off`. Routes that ' +
    'take a password have a separate limit of a fifth of it; routes that request an email, a tenth; ' +
    'routes that services call, ten times as much'),
  REDIS_URL: secret('each instance counts by itself', parseRedisUrl,
    'the Redis server in which several instances count together for RATE_LIMIT, such as ' +
    'redis://user:password@host:6379/0, or rediss:// for TLS; Redis Cluster and Sentinel are not supported'),
  LOGIN_RATE_LIMIT: variable('5/15m', parseRate,
    'wrong passwords for one account in a period, from one network or one known device. The failure ' +
    'that reaches the limit starts a wait of 30 seconds; each failure after a wait doubles it, up to an ' +
    'hour. The email address and the username are counted separately. `off` switches the limit off'),
  LOGIN_NETWORK_LIMIT: variable('50/15m', parseRate,
    'wrong passwords from one network in a period, over all accounts. The failure that reaches the limit ' +
    'starts a wait, as with LOGIN_RATE_LIMIT. `off` switches the limit off'),
  LOGIN_ACCOUNT_LIMIT: variable('100/24h', parseRate,
    'wrong passwords for one account in a period, over all networks, but without its known devices. ' +
    'The failure that reaches the limit starts a wait, as with LOGIN_RATE_LIMIT. `off` switches the limit ' +
    'off'),
  WEBHOOK_PRIVATE_NETWORKS: variable('off', parseNetworks,
    'private addresses and CIDR ranges that webhooks and back-channel logouts may be sent to, even over ' +
    'http, separated by commas'),
  PASSWORD_MIN_LENGTH: variable('8', parseInteger(8, 64), 'minimum length of a password, in code points'),
  BREACHED_PASSWORDS_URL: optional('new passwords are not looked up', parseRangeUrl,
    'the URL where new passwords are looked up among breached ones, such as ' +
    'https://api.pwnedpasswords.com/range/; the first five digits of their SHA-1 are appended'),
  PASSWORD_PEPPER: variable('false', parseBoolean,
    'whether password hashes also depend on a secret that KEY_ENCRYPTION_KEY encrypts; ' +
    'existing hashes are replaced when their users sign in'),
  MIGRATE_ON_START: variable('true', parseBoolean,
    'whether startup updates the database schema; if false, run `latchkey migrate` beforehand'),
  REQUEST_TIMEOUT: variable('10s', parseDuration({ maxDays: maxTimerDays }),
    'time in which a request must arrive and be answered'),
  KEEP_ALIVE_TIMEOUT: variable('75s', parseDuration({ maxDays: maxTimerDays }),
    'time for which a connection can be idle between two requests; ' +
    'set it longer than the idle timeout of the proxy or load balancer in front'),
  DRAIN_DELAY: optional('0s; 5s in production', parseDuration({ minSeconds: 0, maxDays: maxTimerDays }),
    'time between SIGTERM and the closing of the port; /readyz answers 503 meanwhile'),
  SHUTDOWN_TIMEOUT: variable('15s', parseDuration({ maxDays: maxTimerDays }),
    'time after which a shutdown aborts unfinished requests'),
  LOG_LEVEL: variable('info', parseWord('fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'),
    'the least severe level that is logged: fatal, error, warn, info, debug, trace, or silent for none'),
  LOG_FORMAT: optional('pretty on a terminal, json elsewhere and in production', parseWord('json', 'pretty'),
    'the format of the log: `json` is one object a line, `pretty` is for people')
} satisfies Record<string, Variable<unknown>>

export type VariableName = keyof typeof variables
type Parsed<Name extends VariableName> = ReturnType<(typeof variables)[Name]['parse']>
type Absence<Name extends VariableName> = undefined extends (typeof variables)[Name]['preset']
  ? undefined
  : never

/** The value of each variable; undefined if it is unset and has no default. */
export type VariableValues = { [Name in VariableName]: Parsed<Name> | Absence<Name> }
