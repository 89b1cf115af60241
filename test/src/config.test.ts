import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import pg from 'pg'
import type { Test } from 'tap'
import { formatExample } from '../../scripts/environment-example.ts'
import { ConfigError } from '../../src/config/config-error.ts'
import { load } from '../../src/config/config.ts'
import type { Environment } from '../../src/config/environment.ts'
import { misspellingWarnings } from '../../src/config/misspellings.ts'
import { variables } from '../../src/config/variables.ts'
import { productionWarnings, settingWarnings } from '../../src/config/warnings.ts'
import { packageFolder } from '../../src/package-folder.ts'
import { parse as parseDatabase } from '../../src/syntax/database-url.ts'
import { commandOf } from '../support/program.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { t } from '../support/test.ts'

const key = randomBytes(32).toString('base64')
const production: Environment = {
  NODE_ENV: 'production',
  DATABASE_URL: 'postgres://latchkey:s3cret@db.internal:5432/latchkey',
  ISSUER_URL: 'https://auth.example.com',
  KEY_ENCRYPTION_KEY: key
}

/** The problems of an environment, or none if it is valid. */
function problems (environment: Environment): string[] {
  try {
    load(environment)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}

/** Asserts that these problems were found, in this order, and no others. */
function matchAll (t: Test, found: string[], expected: RegExp[], message = '') {
  t.match(found, expected, message)
  t.equal(found.length, expected.length, message)
}

t.test('an empty environment is valid, with defaults for a first try on one machine', async t => {
  t.strictSame(load({}), {
    production: false,
    issuer: 'http://localhost:3000',
    serviceName: 'Latchkey',
    brand: {
      name: 'Latchkey',
      logo: undefined,
      color: undefined,
      supportUrl: undefined,
      privacyUrl: undefined,
      termsUrl: undefined
    },
    audience: 'http://localhost:3000',
    host: '127.0.0.1',
    isHostDefault: true,
    port: 3000,
    metrics: true,
    metricsPort: undefined,
    docs: true,
    databaseUrl: undefined,
    databaseDirectUrl: undefined,
    idlePollInterval: undefined,
    databaseOwnerUrl: undefined,
    keyEncryptionKeys: undefined,
    trustProxy: undefined,
    corsOrigins: [],
    allowLocalOrigins: true,
    clients: { redirectSchemes: [], isDevelopment: true },
    roles: { user: [], admin: [] },
    tokenClaims: { names: [], namespace: '' },
    lifetimes: {
      accessTokenSeconds: 900,
      refreshTokenSeconds: 604_800,
      sessionSeconds: 2_592_000,
      rememberedSessionSeconds: 7_776_000,
      replayGraceSeconds: 10,
      retryWindowSeconds: undefined
    },
    sessionLimit: 100,
    revocationStaleLimit: undefined,
    auditRetention: 31_536_000,
    signing: { algorithm: 'ES256', rotationSeconds: 2_592_000, jwksMaxAgeSeconds: 300 },
    passwords: {
      minLength: 8,
      memoryKib: 19_456,
      timeCost: 2,
      parallelism: 1,
      concurrency: availableParallelism(),
      build: 'auto',
      hasPepper: false,
      breachedPasswordsUrl: undefined
    },
    rateLimit: { count: 300, window: 60 },
    throttle: {
      login: { count: 5, window: 900 },
      network: { count: 50, window: 900 },
      account: { count: 100, window: 86_400 }
    },
    redisUrl: undefined,
    webhooks: { privateNetworks: undefined, requiresHttps: false },
    mail: {
      smtpUrl: undefined,
      smtpTls: undefined,
      smtpOauth: undefined,
      from: undefined,
      templates: undefined,
      linksUrl: 'http://localhost:3000'
    },
    homeUrl: undefined,
    requireEmailVerification: false,
    links: {
      emailVerificationSeconds: 86_400,
      passwordResetSeconds: 1_800,
      magicLinkSeconds: 600,
      emailUndoSeconds: 604_800
    },
    migrateOnStart: true,
    requestTimeout: 10,
    keepAliveTimeout: 75,
    drainDelay: 0,
    shutdownTimeout: 15,
    logLevel: 'info',
    logFormat: undefined
  })
})

t.test('every variable has an effect', async t => {
  const logo = '<svg xmlns="http://www.w3.org/2000/svg"/>'
  const logoFile = join(temporaryFolder(t), 'logo.png')
  writeFileSync(logoFile, logo)
  const { trustProxy, webhooks, ...config } = load({
    ...production,
    DATABASE_DIRECT_URL: 'postgres://latchkey:s3cret@db-direct.internal:5432/latchkey',
    DATABASE_OWNER_URL: 'postgres://migrator@db.internal:5432/latchkey',
    IDLE_POLL_INTERVAL: '10m',
    DATABASE_OWNER_PASSWORD: '0wner',
    SERVICE_NAME: 'Ünïcorn & Söhne',
    BRAND_NAME: 'Ünïcorn',
    BRAND_LOGO: logoFile,
    BRAND_COLOR: '#17A',
    SUPPORT_URL: 'https://www.example.com/help',
    PRIVACY_URL: 'https://www.example.com/privacy',
    TERMS_URL: 'https://www.example.com/terms#login',
    AUDIENCE: 'https://api.example.com',
    HOST: '0.0.0.0',
    PORT: '0',
    METRICS: 'public',
    METRICS_PORT: '9464',
    DOCS: 'off',
    TRUST_PROXY: '10.0.0.0/8',
    WEBHOOK_PRIVATE_NETWORKS: '10.1.0.0/16',
    CORS_ORIGINS: 'https://app.example.com, http://localhost:5173',
    ROLES: 'support, editor=articles:read+articles:write, user=profile',
    REDIRECT_SCHEMES: 'myapp, com.example.app',
    TOKEN_CLAIMS: 'username, email,email',
    TOKEN_CLAIMS_NAMESPACE: 'urn:example:',
    ACCESS_TOKEN_TTL: '1s',
    REFRESH_TOKEN_TTL: '2m',
    SESSION_TTL: '3h',
    REMEMBERED_SESSION_TTL: '4d',
    REFRESH_REPLAY_GRACE: '0s',
    REFRESH_RETRY_WINDOW: '5m',
    SIGNING_ALGORITHM: 'EdDSA',
    MAX_SESSIONS_PER_USER: '5',
    REVOCATION_STALE_LIMIT: '1m',
    AUDIT_RETENTION: '30d',
    SIGNING_KEY_ROTATION: '7d',
    JWKS_MAX_AGE: '30s',
    ARGON2_MEMORY_KIB: '65536',
    ARGON2_TIME_COST: '3',
    ARGON2_PARALLELISM: '4',
    ARGON2_CONCURRENCY: '7',
    ARGON2_BUILD: 'prebuilt',
    RATE_LIMIT: 'off',
    LOGIN_RATE_LIMIT: '3/1m',
    LOGIN_NETWORK_LIMIT: 'off',
    LOGIN_ACCOUNT_LIMIT: '1/1s',
    REDIS_URL: 'rediss://latchkey:s3cret@redis.internal:6380/2',
    SMTP_URL: 'smtps://latchkey@mail.internal:465',
    SMTP_OAUTH_TOKEN_URL: 'https://login.example.com/token',
    SMTP_OAUTH_CLIENT_ID: 'mailer',
    SMTP_OAUTH_CLIENT_SECRET: 's3cret',
    SMTP_OAUTH_SCOPE: 'mail',
    SMTP_TLS: 'optional',
    MAIL_FROM: 'Example <login@example.com>',
    MAIL_TEMPLATES: '/etc/latchkey/templates',
    LINKS_URL: 'https://app.example.com/account/',
    HOME_URL: 'https://app.example.com/?from=mail',
    REQUIRE_EMAIL_VERIFICATION: 'true',
    EMAIL_VERIFICATION_TTL: '1s',
    PASSWORD_RESET_TTL: '1m',
    MAGIC_LINK_TTL: '1h',
    EMAIL_UNDO_TTL: '1d',
    PASSWORD_MIN_LENGTH: '12',
    BREACHED_PASSWORDS_URL: 'https://api.pwnedpasswords.com/range/',
    PASSWORD_PEPPER: 'true',
    MIGRATE_ON_START: 'false',
    REQUEST_TIMEOUT: '20s',
    KEEP_ALIVE_TIMEOUT: '2m',
    DRAIN_DELAY: '6s',
    SHUTDOWN_TIMEOUT: '1m',
    LOG_LEVEL: 'silent',
    LOG_FORMAT: 'pretty'
  })
  t.ok(trustProxy?.('10.1.2.3'))
  t.ok(webhooks.privateNetworks?.('10.1.2.3') && webhooks.requiresHttps)
  t.strictSame(config, {
    production: true,
    issuer: 'https://auth.example.com',
    serviceName: 'Ünïcorn & Söhne',
    brand: {
      name: 'Ünïcorn',
      logo: { content: Buffer.from(logo), type: 'image/svg+xml' },
      color: '#1177aa',
      supportUrl: 'https://www.example.com/help',
      privacyUrl: 'https://www.example.com/privacy',
      termsUrl: 'https://www.example.com/terms#login'
    },
    audience: 'https://api.example.com',
    host: '0.0.0.0',
    isHostDefault: false,
    port: 0,
    metrics: true,
    metricsPort: 9_464,
    docs: false,
    databaseUrl: 'postgres://latchkey:s3cret@db.internal:5432/latchkey',
    idlePollInterval: 600,
    databaseDirectUrl: 'postgres://latchkey:s3cret@db-direct.internal:5432/latchkey',
    databaseOwnerUrl: 'postgres://migrator@db.internal:5432/latchkey?password=0wner',
    keyEncryptionKeys: [Buffer.from(key, 'base64')],
    corsOrigins: ['https://app.example.com', 'http://localhost:5173'],
    allowLocalOrigins: false,
    clients: { redirectSchemes: ['myapp', 'com.example.app'], isDevelopment: false },
    roles: { user: ['profile'], admin: [], support: [], editor: ['articles:read', 'articles:write'] },
    tokenClaims: { names: ['username', 'email'], namespace: 'urn:example:' },
    lifetimes: {
      accessTokenSeconds: 1,
      refreshTokenSeconds: 120,
      sessionSeconds: 10_800,
      rememberedSessionSeconds: 345_600,
      replayGraceSeconds: 0,
      retryWindowSeconds: 300
    },
    sessionLimit: 5,
    revocationStaleLimit: 60,
    auditRetention: 2_592_000,
    signing: { algorithm: 'EdDSA', rotationSeconds: 604_800, jwksMaxAgeSeconds: 30 },
    passwords: {
      minLength: 12,
      memoryKib: 65_536,
      timeCost: 3,
      parallelism: 4,
      concurrency: 7,
      build: 'prebuilt',
      hasPepper: true,
      breachedPasswordsUrl: 'https://api.pwnedpasswords.com/range/'
    },
    rateLimit: 'off',
    throttle: { login: { count: 3, window: 60 }, network: 'off', account: { count: 1, window: 1 } },
    redisUrl: 'rediss://latchkey:s3cret@redis.internal:6380/2',
    mail: {
      smtpUrl: 'smtps://latchkey@mail.internal:465',
      smtpTls: 'optional',
      smtpOauth: {
        tokenUrl: 'https://login.example.com/token', clientId: 'mailer', clientSecret: 's3cret', scope: 'mail'
      },
      from: { name: 'Example', address: 'login@example.com' },
      templates: '/etc/latchkey/templates',
      linksUrl: 'https://app.example.com/account'
    },
    homeUrl: 'https://app.example.com/?from=mail',
    requireEmailVerification: true,
    links: {
      emailVerificationSeconds: 1,
      passwordResetSeconds: 60,
      magicLinkSeconds: 3_600,
      emailUndoSeconds: 86_400
    },
    migrateOnStart: false,
    requestTimeout: 20,
    keepAliveTimeout: 120,
    drainDelay: 6,
    shutdownTimeout: 60,
    logLevel: 'silent',
    logFormat: 'pretty'
  })
})

t.test('a logo is an image by its content and not its name, and of at most 256 KiB', async t => {
  const folder = temporaryFolder(t)
  const png = Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex')
  const accepted = {
    'image/png': [png, Buffer.concat([png], 256 * 1_024)],
    'image/jpeg': [Buffer.from('ffd8ffe000104a464946', 'hex')],
    'image/webp': [Buffer.from('RIFF\x04\0\0\0WEBPVP8 ', 'latin1')],
    'image/svg+xml': [
      '<svg xmlns="http://www.w3.org/2000/svg"/>',
      '\uFEFF<?xml version="1.0"?>\n<!-- made by <b>hand</b> -->\n' +
        '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x">\n<svg>'
    ]
  }
  const path = join(folder, 'logo.txt')
  for (const [type, contents] of Object.entries(accepted)) {
    for (const content of contents) {
      writeFileSync(path, content)
      t.match(load({ BRAND_LOGO: path }).brand.logo, { type, content: Buffer.from(content) })
    }
  }
  const rejected = [
    '', 'alert(1)', '#!/bin/sh\n', '<html><svg></svg></html>', '<script>alert(1)</script><svg>', 'GIF89a',
    '<!-- <svg> --><script>', '<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>', '<svgx>',
    '<svg \0>', '%PDF-1.7', 'RIFF\x04\0\0\0WAVEfmt '
  ]
  for (const content of rejected) {
    writeFileSync(path, content)
    t.strictSame(
      problems({ BRAND_LOGO: path }), [
        'BRAND_LOGO must be a file with an SVG, PNG, JPEG or WebP image'
      ], content
    )
  }
  writeFileSync(path, Buffer.concat([png], 256 * 1_024 + 1))
  t.strictSame(problems({ BRAND_LOGO: path }), ['BRAND_LOGO must be a file of at most 256 KiB'])
  t.strictSame(problems({ BRAND_LOGO: join(folder, 'none.svg') }), ['BRAND_LOGO cannot be read: ENOENT'])
  mkdirSync(join(folder, 'folder'))
  t.strictSame(problems({ BRAND_LOGO: join(folder, 'folder') }), ['BRAND_LOGO cannot be read: EISDIR'])
})

t.test('an empty variable counts as unset, and blanks around a value are removed', async t => {
  const empty = Object.fromEntries(
    Object.keys(variables).flatMap(name => [
      [name, ''],
      [`${name}_FILE`, ' ']
    ])
  )
  t.strictSame(load(empty), load({}))
  t.match(load({ PORT: ' 8080 ', ISSUER_URL: '\thttps://auth.example.com\n', MIGRATE_ON_START: 'false ' }), {
    port: 8080,
    issuer: 'https://auth.example.com',
    migrateOnStart: false
  })
})

t.test('the audience is the issuer unless AUDIENCE is set', async t => {
  t.equal(load({ ISSUER_URL: 'https://auth.example.com' }).audience, 'https://auth.example.com')
  t.equal(load({ ISSUER_URL: 'https://auth.example.com', AUDIENCE: 'orders' }).audience, 'orders')
})

t.test('the issuer follows the port unless ISSUER_URL is set', async t => {
  t.match(load({ PORT: '4000' }), {
    issuer: 'http://localhost:4000',
    audience: 'http://localhost:4000',
    mail: { linksUrl: 'http://localhost:4000' }
  })
  t.equal(load({ PORT: '80' }).issuer, 'http://localhost', 'browsers leave out the default port')
  t.equal(load({ PORT: '0' }).issuer, 'http://localhost:3000', 'a random port is not known yet')
  t.equal(load({ PORT: '4000', ISSUER_URL: 'http://localhost:3000' }).issuer, 'http://localhost:3000')
})

t.test('local pages are allowed only in development with a local issuer and no CORS_ORIGINS', async t => {
  const isAllowed = (environment: Environment) => load(environment).allowLocalOrigins
  for (const issuer of ['http://localhost:8080', 'http://127.0.0.1:3000']) {
    t.equal(isAllowed({ ISSUER_URL: issuer }), true, issuer)
  }
  for (const issuer of ['https://auth.example.com', 'http://auth.example.com']) {
    t.equal(isAllowed({ ISSUER_URL: issuer }), false, issuer)
  }
  t.equal(isAllowed({ CORS_ORIGINS: 'http://localhost:5173' }), false)
  t.equal(isAllowed({ NODE_ENV: 'test' }), false)
  t.equal(isAllowed(production), false)
})

t.test('without LOG_FORMAT the log is JSON in production, and depends on the output otherwise', async t => {
  t.equal(load({}).logFormat, undefined)
  t.equal(load(production).logFormat, 'json')
  t.equal(load({ ...production, LOG_FORMAT: 'pretty' }).logFormat, 'pretty')
  t.equal(load({ LOG_FORMAT: 'json' }).logFormat, 'json')
})

t.test('a variable with a misspelled name causes a warning', async t => {
  t.strictSame(
    misspellingWarnings({ DATABSE_URL: 'x', SMTP_ULR: 'y', ISSUER_URL: 'z', KEY_ENCRYPTON_KEY_FILE: 'w' }),
    [
      'DATABSE_URL is not a variable of Latchkey and has no effect: did you mean DATABASE_URL?',
      'SMTP_ULR is not a variable of Latchkey and has no effect: did you mean SMTP_URL?',
      'KEY_ENCRYPTON_KEY_FILE is not a variable of Latchkey and has no effect: ' +
        'did you mean KEY_ENCRYPTION_KEY?'
    ]
  )
  for (const [given, meant] of [
    ['PORTT', 'PORT'], ['PROT', 'PORT'], ['HSOT', 'HOST'], ['ROLE', 'ROLES'], ['ISUER_URL', 'ISSUER_URL'],
    ['METRICS_PROT', 'METRICS_PORT']
  ] as const) {
    t.match(misspellingWarnings({ [given]: 'x' }), [new RegExp(`did you mean ${meant}\\?$`)], given)
  }
  t.match(
    problems({ ...production, ISSUER_URL: undefined, ISUER_URL: 'https://auth.example.com' }),
    [/^ISSUER_URL is required/, /^ISUER_URL is not a variable .* did you mean ISSUER_URL\?$/]
  )
  for (const name of [
    'HOSTS', 'PORTS', 'DOC', 'HOSTNAME', 'POST', 'PATH', 'LOG_FILE', 'NODE_OPTIONS', 'DATABASE_NAME',
    'npm_config_loglevel'
  ]) {
    t.strictSame(misspellingWarnings({ [name]: 'x' }), [], name)
  }
  t.strictSame(
    misspellingWarnings({ DATABASE_URL: 'x', DATABASE_URI: 'y' }),
    [],
    'no warning if the right variable is set, too'
  )
})

t.test('a configuration is frozen', async t => {
  const config = load({ ...production, CORS_ORIGINS: 'https://app.example.com' })
  t.ok(Object.isFrozen(config))
  for (const part of ['lifetimes', 'signing', 'passwords', 'rateLimit', 'throttle'] as const) {
    t.ok(Object.isFrozen(config[part]), part)
  }
  t.ok(Object.isFrozen(config.corsOrigins))
  t.ok([config.roles, ...Object.values(config.roles)].every(Object.isFrozen), 'roles')
  t.throws(() => Object.assign(config, { issuer: 'https://evil.example' }), TypeError)
  t.throws(() => Object.assign(config.lifetimes, { accessTokenSeconds: 1e9 }), TypeError)
})

t.test('every problem is reported at once', async t => {
  const error = t.throws(() => load({
    NODE_ENV: 'production',
    PORT: '65536',
    ACCESS_TOKEN_TTL: '15',
    MIGRATE_ON_START: 'yes',
    TRUST_PROXY: 'nginx',
    LOG_LEVEL: 'verbose',
    SIGNING_ALGORITHM: 'HS256'
  }), ConfigError)
  const names = [
    'PORT', 'TRUST_PROXY', 'ACCESS_TOKEN_TTL', 'SIGNING_ALGORITHM', 'MIGRATE_ON_START', 'LOG_LEVEL',
    'DATABASE_URL', 'KEY_ENCRYPTION_KEY', 'ISSUER_URL'
  ]
  const { problems, message } = error as ConfigError
  t.strictSame(problems.map(problem => problem.split(' ')[0]), names)
  t.equal(
    message,
    ['The configuration is not valid:', ...problems.map(problem => `  - ${problem}`)].join('\n')
  )
})

t.test('the problem of a malformed value names the variable and the allowed values', async t => {
  const durations = [
    'ACCESS_TOKEN_TTL', 'REFRESH_TOKEN_TTL', 'SESSION_TTL', 'REMEMBERED_SESSION_TTL', 'REFRESH_RETRY_WINDOW',
    'JWKS_MAX_AGE', 'REQUEST_TIMEOUT', 'KEEP_ALIVE_TIMEOUT', 'SHUTDOWN_TIMEOUT'
  ]
  const durationsOrZero = ['REFRESH_REPLAY_GRACE', 'DRAIN_DELAY']
  const urlProblem = /^DATABASE_URL must be a URL that begins with postgres:\/\/ or postgresql:\/\/$/
  const originProblem = new RegExp('^\\w+ must be (a URL that begins with https:// or http://|' +
    'origins such as https://app\\.example\\.com or tauri://localhost|' +
    'an origin \\(scheme, host and port\\)(?: without a path or a wildcard|, perhaps with a path .+))$')
  matchAll(t, problems({ CORS_ORIGINS: 'https://*.example.com' }), [/^CORS_ORIGINS /])
  matchAll(t, problems({ PORT: '8080', METRICS_PORT: '8080' }), [
    /^METRICS_PORT must be another port than PORT$/
  ])
  matchAll(t, problems({ ...production, KEY_ENCRYPTION_KEY: ' , ' }), [
    /^KEY_ENCRYPTION_KEY must be 32 bytes/
  ])
  const networksProblem = new RegExp('^(?:TRUST_PROXY|WEBHOOK_PRIVATE_NETWORKS) (' +
    'must be off, or addresses and CIDR ranges; .+ is neither|' +
    'has a range with an invalid prefix length, .+|' +
    'has a range with too many addresses, .+; the shortest prefix is /\\d+)$')
  const cases: Array<[names: string[], values: string[], problem: RegExp]> = [
    [
      [...durations, ...durationsOrZero],
      [
        '1x', '1', 's', '-1s', '+1s', '1.5h', '1h30m', '1 h', '1S', '１s', '1w', 'Infinity', '3651d', '87601h',
        '9999999999s', '1s\n2s'
      ],
      /^\w+ must be a time such as 30s, 15m, 12h or 7d, from [01]s to (24|3650)d$/
    ],
    [durations, ['0s', '0d', '00m'], /^\w+ must be a time .* from 1s to (24|3650)d$/],
    [
      ['PORT'],
      ['-1', '65536', '3000.0', '3e3', '0x50', 'http', '3000/tcp', '99999999999999999999', '٣٠٠٠'],
      /^PORT must be a whole number from 0 to 65535$/
    ],
    [['METRICS'], ['on', 'private', 'true'], /^METRICS must be one of public, off$/],
    [['DOCS'], ['true', 'false', 'public'], /^DOCS must be one of on, off$/],
    [['METRICS_PORT'], ['0', '65536', 'off'], /^METRICS_PORT must be a whole number from 1 to 65535$/],
    [
      ['ARGON2_MEMORY_KIB'],
      ['0', '1023', '4194305', '19MiB'],
      /^ARGON2_MEMORY_KIB must be a whole number from 1024 to 4194304$/
    ],
    [['ARGON2_TIME_COST'], ['0', '1001', '-2'], /^ARGON2_TIME_COST must be a whole number from 1 to 1000$/],
    [
      ['MAX_SESSIONS_PER_USER'],
      ['0', '1001', '10000', 'off', ' no limit '],
      /^MAX_SESSIONS_PER_USER must be a whole number from 1 to 1000$/
    ],
    [['ARGON2_PARALLELISM'], ['0', '65'], /^ARGON2_PARALLELISM must be a whole number from 1 to 64$/],
    [['ARGON2_BUILD'], ['sse2', 'AVX2'], /^ARGON2_BUILD must be one of auto, avx512, avx2, prebuilt$/],
    [
      ['ARGON2_CONCURRENCY'],
      ['0', '1025', 'all'],
      /^ARGON2_CONCURRENCY must be a whole number from 1 to 1024$/
    ],
    [
      ['PASSWORD_MIN_LENGTH'],
      ['7', '65', 'long'],
      /^PASSWORD_MIN_LENGTH must be a whole number from 8 to 64$/
    ],
    [
      ['BREACHED_PASSWORDS_URL'],
      [
        'api.pwnedpasswords.com/range/', 'ftp://api.example.com/', 'https://api.example.com/range',
        'https://api.example.com/range/#', 'https://api.example.com/range/#/', 'https://ada@api.example.com/',
        'https://ada:pw@api.example.com/', 'off', 'true'
      ],
      /^BREACHED_PASSWORDS_URL must be a URL that (begins with https:\/\/ or http:\/\/|ends with \/ or = .+)$/
    ],
    [
      ['SERVICE_NAME', 'BRAND_NAME'],
      [
        'x'.repeat(65), '😀'.repeat(65), 'two\nlines', 'tab\tbed', 'nul\u0000', 'half \ud800',
        'zero\u200bwidth'
      ],
      /^\w+ must be 1 to 64 printable characters$/
    ],
    [
      ['BRAND_COLOR'],
      ['red', '17a', '#17', '#1177aaff', '#17a;}', '#ggg', 'rgb(1,2,3)', '#123 #456'],
      /^BRAND_COLOR must be a colour such as #17a or #1177aa$/
    ],
    [
      ['MIGRATE_ON_START', 'PASSWORD_PEPPER'],
      ['yes', 'no', '1', '0', 'on', 'TRUE', 'False'],
      /^\w+ must be true or false$/
    ],
    [
      ['NODE_ENV'],
      ['prod', 'Production', 'staging'],
      /^NODE_ENV must be one of development, production, test$/
    ],
    [
      ['SIGNING_ALGORITHM'],
      ['none', 'HS256', 'es256', 'toString'],
      /^SIGNING_ALGORITHM must be one of ES256, EdDSA, RS256$/
    ],
    [
      ['HOST', 'PORT', 'METRICS_PORT', 'ROLES', 'AUDIENCE', 'DATABASE_URL', 'REDIS_URL'],
      ['tcp://10.96.0.7:9100', 'udp://10.96.0.7:53', 'tcp://[fd00::7]:9100'],
      /^[A-Z_]+ is (tcp|udp):\/\/\S+, which Kubernetes sets for a Service .+ enableServiceLinks: false /
    ],
    [
      ['HOST'],
      ['x86_64-conda-linux-gnu', '0.0.0.0:3000', 'http://localhost', '[::1', '*', 'a b'],
      /^HOST must be an IP address or a host name, such as 127\.0\.0\.1, 0\.0\.0\.0 or \[::\]; it is ".+"$/
    ],
    [
      ['RATE_LIMIT', 'LOGIN_RATE_LIMIT'],
      ['300/min', '300/minute', '300/m', '300/mins'],
      /^[A-Z_]+_LIMIT must be off, or a count and a time such as 300\/1m: write 300\/1m instead of 300\/m\w*$/
    ],
    [['RATE_LIMIT'], ['5/sec', '5/hour', '5/days'], /: write 5\/1[shd] instead of 5\/\w+$/],
    [
      ['SMTP_URL', 'REDIS_URL'],
      ['pa/ss', 'pa#ss', 'pa?ss', '12/3', '100%', '/', 'p@ss/'].flatMap(password => [
        `smtp://user:${password}@host:587`, `redis://user:${password}@host:6379`
      ]),
      /^(SMTP_URL|REDIS_URL) (has a character in .+ percent-encode it .+|must be a URL that begins with .+)$/
    ],
    [
      ['REDIS_URL'],
      [
        'redis://one:6379,two:6379', 'redis+sentinel://host:26379/mymaster', 'redis-sentinel://:pw@host',
        'rediss+sentinel://host', 'redis://:s3cret@one:26379,two:26379/0'
      ],
      /^REDIS_URL must name one Redis server: Redis Sentinel and Redis Cluster are not supported$/
    ],
    [['LOG_FORMAT'], ['text', 'JSON'], /^LOG_FORMAT must be one of json, pretty$/],
    [
      ['LOG_LEVEL'],
      ['verbose', 'INFO', '30'],
      /^LOG_LEVEL must be one of fatal, error, warn, info, debug, trace, silent$/
    ],
    [
      ['DATABASE_URL'],
      [
        'localhost', 'localhost:5432/latchkey', 'mysql://localhost/latchkey', 'https://db.example.com',
        'postgres://localhost:port/latchkey', '/var/run/postgresql'
      ],
      urlProblem
    ],
    [
      ['ISSUER_URL', 'CORS_ORIGINS'],
      [
        'auth.example.com', 'auth.example.com:443', '//auth.example.com', 'ftp://auth.example.com',
        'javascript:alert(1)', 'https://', 'https://auth.example.com/a//b', 'https://auth.example.com//',
        'https://auth.example.com?a=b', 'https://auth.example.com#a', 'https://ada@auth.example.com',
        'https://ada:pw@auth.example.com', 'https://auth.example.com:65536', 'https://auth example.com'
      ],
      originProblem
    ],
    [
      ['CORS_ORIGINS'],
      [
        '*', 'null', 'https://app.example.com/tenant', 'https://app.example.com, *',
        'https://app.example.com https://other.example.com',
        'https://app.example.com/, https://other.example.com/path'
      ],
      originProblem
    ],
    [
      ['TRUST_PROXY', 'WEBHOOK_PRIVATE_NETWORKS'],
      [
        'nginx', 'proxy.example.com', 'localhost', 'Loopback', '10.0.0', '010.0.0.1', '10.0.0.256',
        '10.0.0.0/8/8', '10.0.0.1:80', '[::1]', 'off, 10.0.0.1', '10.0.0.0-10.0.0.9',
        '10.0.0.0/33', '::1/129', '10.0.0.0/-8', '10.0.0.0/8.0', '10.0.0.0/', '10.0.0.0/eight', '0.0.0.0/0',
        '10.0.0.0/00', '::/0', '10.0.0.1, ::/0'
      ],
      networksProblem
    ],
    [['WEBHOOK_PRIVATE_NETWORKS'], ['loopback', 'true', '1', '2'], networksProblem],
    [
      ['RATE_LIMIT', 'LOGIN_RATE_LIMIT', 'LOGIN_NETWORK_LIMIT', 'LOGIN_ACCOUNT_LIMIT'],
      [
        '0/1m', '-1/1m', '300', '300/', '/1m', '300/1m/1m', '300 per minute', '3e2/1m', '300/0s', '300/1x',
        '01/1m', '1000000000/1m', 'none', 'OFF'
      ],
      /^[A-Z_]+_LIMIT (must be off, or a count and a time such as 300\/1m|must be a time such as .+)$/
    ],
    [
      ['SMTP_URL'],
      [
        'mail', 'localhost:25', 'http://mail:25', 'smtp://', 'smtp://mail:port', 'smtp://mail/inbox',
        'smtp://mail?tls=no'
      ],
      /^SMTP_URL must (be a URL that begins with smtp:\/\/ or smtps:\/\/|have a host, and may have .+)$/
    ],
    [['SMTP_TLS'], ['true', 'none', 'off', 'Required'], /^SMTP_TLS must be one of required, optional$/],
    [
      ['MAIL_FROM'],
      [
        'login', 'Example', 'Example <login>', 'a\nb <login@example.com>', 'a@example.com, b@example.com',
        'Group: a@example.com, b@example.com;', '"Example, Inc. <login@example.com>'
      ],
      /^MAIL_FROM must be an address, or a name and an address in angle brackets, such as /
    ],
    [
      ['LINKS_URL'],
      [
        'app.example.com', 'ftp://app.example.com', 'https://ada@app.example.com',
        'https://app.example.com/?a=1', 'https://app.example.com/#account'
      ],
      new RegExp('^LINKS_URL must be a URL (that begins with https:// or http://|' +
        'without a user, a query or a fragment)$')
    ],
    [
      ['ROLES'],
      [
        'support team', 'a\u00a0b', 'x'.repeat(101), '=articles:read', 'nul\u0000', 'half \ud800',
        'zero\u200bwidth', 'user, support team', 'editor=articles:read articles:write, two words'
      ],
      new RegExp(
        '^ROLES must (be a comma-separated list of names of at most 100 characters .+ is not a valid name|' +
          'give scopes as in .+ are not valid)$'
      )
    ],
    [
      ['ROLES'],
      [
        'editor=',
        'editor=a++b',
        'editor=+',
        'editor=a=b',
        'editor=articles:read articles:write',
        'editor="a"',
        'editor=a\\b',
        'editor=ä',
        `editor=${'x'.repeat(101)}`,
        'admin='
      ],
      /^ROLES must give scopes as in editor=articles:read\+articles:write; the scopes of \w+ are not valid$/
    ],
    [
      ['ROLES'],
      ['support,support', 'editor=a, editor=b', 'user,user'],
      /^ROLES must name each role once; it names \w+ twice$/
    ],
    [
      ['ROLES'],
      [Array.from({ length: 400 }, (_, i) => `role-${i}`).join()],
      /^ROLES must be shorter; all roles .+ may take 3000 bytes in a token$/
    ],
    [
      ['REDIRECT_SCHEMES'],
      ['myapp:', 'MyApp', 'my app', '1app', 'myapp://', 'https', 'myapp,http', 'javascript', 'data', 'é'],
      /^REDIRECT_SCHEMES must be schemes of your applications in lower case, without a colon, such as myapp$/
    ],
    [
      ['TOKEN_CLAIMS'],
      ['mail', 'email name', 'Email', 'email,phone', 'sub'],
      /^TOKEN_CLAIMS must be some of email, email_verified, .+, separated by commas$/
    ],
    [
      ['TOKEN_CLAIMS_NAMESPACE'],
      [
        'https://example.com', 'example.com/', '/', 'https://exa mple.com/',
        `https://example.com/${'x'.repeat(100)}/`
      ],
      /^TOKEN_CLAIMS_NAMESPACE must be a URI that ends with \/, # or :, such as https:\/\/example.com\/$/
    ],
    [
      ['HOME_URL', 'SUPPORT_URL', 'PRIVACY_URL', 'TERMS_URL'],
      ['app.example.com', '/welcome', 'javascript:alert(1)', 'data:text/html,x'],
      /^\w+ must be a URL that begins with https:\/\/ or http:\/\/$/
    ],
    [
      ['REDIS_URL'],
      [
        'redis', 'localhost:6379', 'http://redis:6379', 'redis://', 'redis://:6379', 'redis://redis:port',
        'redis://redis/db', 'redis://redis/1/2', 'redis://redis?db=1', 'redis://redis#1',
        'redis://:%ff@redis', '/run/redis.sock'
      ],
      /^REDIS_URL must (be a URL that begins with redis:\/\/ or rediss:\/\/|have a host, and may have .+)$/
    ],
    [
      ['KEY_ENCRYPTION_KEY'],
      [
        'tooshort',
        'not base64, at all',
        key.slice(0, -4),
        `${key}AAAA`,
        randomBytes(31).toString('base64'),
        randomBytes(33).toString('base64'),
        randomBytes(32).toString('hex'),
        '_'.repeat(43),
        `${key},tooshort`,
        `${key}${key}`,
        `${key};${key}`
      ],
      /^KEY_ENCRYPTION_KEY must be 32 bytes in base64 \(make one with: openssl rand -base64 32\)$/
    ]
  ]
  for (const [names, values, problem] of cases) {
    for (const name of names) {
      for (const value of values) {
        const found = problems({ [name]: value })
        matchAll(t, found, [problem], `${name}=${value.slice(0, 50)}`)
        t.equal(found[0]?.split(' ')[0], name)
      }
    }
  }
})

t.test('well-formed values are accepted up to their bounds', async t => {
  const cases: Array<[Environment, object]> = [
    [
      { ACCESS_TOKEN_TTL: '3650d', REQUEST_TIMEOUT: '1s', REFRESH_REPLAY_GRACE: '0s' },
      { lifetimes: { accessTokenSeconds: 315_360_000, replayGraceSeconds: 0 }, requestTimeout: 1 }
    ],
    [
      { PORT: '65535', PASSWORD_MIN_LENGTH: '64' },
      { port: 65_535, passwords: { minLength: 64 } }
    ],
    [
      { ARGON2_MEMORY_KIB: '1024', ARGON2_TIME_COST: '1', ARGON2_PARALLELISM: '64', ARGON2_CONCURRENCY: '1' },
      { passwords: { memoryKib: 1_024, timeCost: 1, parallelism: 64, concurrency: 1 } }
    ],
    ...([
      ['"Example, Inc." <login@example.com>', 'Example, Inc.'],
      ['"Ada \\"Countess\\" Lovelace" <login@example.com>', 'Ada "Countess" Lovelace'],
      ['Örders (of Example) <login@Example.COM>', 'Örders'],
      ['<login@example.com>', ''],
      ['login@example.com', '']
    ] as const).map(([MAIL_FROM, name]): [Environment, object] =>
      [{ MAIL_FROM }, { mail: { from: { name, address: 'login@example.com' } } }]),
    [{ RATE_LIMIT: '1/1s' }, { rateLimit: { count: 1, window: 1 } }],
    [{ RATE_LIMIT: '999999999/3650d' }, { rateLimit: { count: 999_999_999, window: 315_360_000 } }],
    ...['[::]', '::'].map((HOST): [Environment, object] => [{ HOST }, { host: '::' }]),
    [{ HOST: 'localhost' }, { host: 'localhost' }],
    [{ REDIS_URL: 'redis://redis?family=0' }, { redisUrl: 'redis://redis?family=0' }],
    [{ REDIS_URL: 'redis://redis' }, { redisUrl: 'redis://redis' }],
    [{ REDIS_URL: 'redis://:p%40ss@[::1]:6379/15' }, { redisUrl: 'redis://:p%40ss@[::1]:6379/15' }],
    [{ ISSUER_URL: 'HTTPS://Auth.Example.COM:443/' }, { issuer: 'https://auth.example.com' }],
    [{ ISSUER_URL: 'https://auth.example.com/a/b/' }, { issuer: 'https://auth.example.com/a/b' }],
    [{ ISSUER_URL: 'http://[::1]:8080' }, { issuer: 'http://[::1]:8080' }],
    [
      { CORS_ORIGINS: 'https://app.example.com/,, http://localhost:5173 ,' },
      { corsOrigins: ['https://app.example.com', 'http://localhost:5173'] }
    ],
    [
      { DATABASE_URL: 'postgresql://db.example.com/latchkey?sslmode=require' },
      { databaseUrl: 'postgresql://db.example.com/latchkey?sslmode=require' }
    ],
    [
      { ROLES: ' , Teamleitung_Süd ,роль,100%, a+b =x+x+~!,__proto__=y,constructor' },
      {
        roles: Object.fromEntries([
          ['user', []],
          ['admin', []],
          ['Teamleitung_Süd', []],
          ['роль', []],
          ['100%', []],
          ['a+b', ['x', '~!']],
          ['__proto__', ['y']],
          ['constructor', []]
        ])
      }
    ],
    [{ ROLES: 'admin,user' }, { roles: { user: [], admin: [] } }],
    [{ SERVICE_NAME: '😀'.repeat(64) }, { serviceName: '😀'.repeat(64) }],
    [{ SERVICE_NAME: 'Ä' }, { serviceName: 'Ä' }],
    [
      { BREACHED_PASSWORDS_URL: 'http://10.0.0.1:8080?prefix=' },
      { passwords: { breachedPasswordsUrl: 'http://10.0.0.1:8080/?prefix=' } }
    ],
    [{ TRUST_PROXY: 'off' }, { trustProxy: undefined }]
  ]
  for (const [environment, config] of cases) {
    t.match(load(environment), config, Object.keys(environment).join())
  }
})

t.test('several key-encryption keys are kept in their order, with or without padding', async t => {
  const other = randomBytes(32)
  t.strictSame(
    load({ KEY_ENCRYPTION_KEY: ` ${other.toString('base64')} , ${key.replace(/=+$/, '')},` })
      .keyEncryptionKeys,
    [other, Buffer.from(key, 'base64')]
  )
})

t.test('in production', async t => {
  t.test('a complete configuration is valid, and the service drains before it stops', async t => {
    t.match(load(production), { production: true, drainDelay: 5 })
    t.equal(load({ ...production, DRAIN_DELAY: '0s' }).drainDelay, 0)
    t.match(load(production), { metrics: false, docs: true })
    t.equal(load({ ...production, METRICS: 'public' }).metrics, true)
    t.equal(load({ METRICS: 'off' }).metrics, false)
  })

  t.test('a database, a key and https are required', async t => {
    const cases: Array<[changes: Environment, expected: string[]]> = [
      [
        { DATABASE_URL: undefined },
        ['DATABASE_URL is required in production: the embedded PostgreSQL is for development']
      ],
      [
        { KEY_ENCRYPTION_KEY: undefined },
        ['KEY_ENCRYPTION_KEY is required in production (make one with: openssl rand -base64 32)']
      ],
      [
        { ISSUER_URL: undefined },
        ['ISSUER_URL is required in production: the https origin that browsers and services reach']
      ],
      [{ ISSUER_URL: 'http://auth.example.com' }, ['ISSUER_URL must be https in production']],
      [{ ISSUER_URL: 'http://localhost:3000' }, ['ISSUER_URL must be https in production']]
    ]
    for (const [changes, expected] of cases) t.strictSame(problems({ ...production, ...changes }), expected)
  })

  t.test('each variable is reported once, even if it is malformed', async t => {
    const found = problems({
      NODE_ENV: 'production',
      DATABASE_URL: 'mysql://db',
      KEY_ENCRYPTION_KEY: 'short',
      ISSUER_URL: 'auth.example.com',
      ARGON2_MEMORY_KIB: 'much'
    })
    t.strictSame(
      found.map(problem => problem.split(' ')[0]),
      ['DATABASE_URL', 'ISSUER_URL', 'KEY_ENCRYPTION_KEY', 'ARGON2_MEMORY_KIB']
    )
  })

  t.test('breached passwords are looked up only over a private connection', async t => {
    for (const url of [
      'https://ranges.internal/', 'http://localhost:8080/range/', 'http://127.0.0.1/range/',
      'http://[::1]:8080/range/'
    ]) {
      t.equal(load({ ...production, BREACHED_PASSWORDS_URL: url }).passwords.breachedPasswordsUrl, url)
    }
    for (const url of [
      'http://ranges.internal/', 'http://127.evil.example/', 'http://localhost.evil.example/',
      'http://10.0.0.1/'
    ]) {
      t.strictSame(
        problems({ ...production, BREACHED_PASSWORDS_URL: url }),
        ['BREACHED_PASSWORDS_URL must be https in production, unless it is on this host'],
        url
      )
      for (const name of ['HOME_URL', 'SUPPORT_URL', 'PRIVACY_URL', 'TERMS_URL']) {
        t.strictSame(problems({ ...production, [name]: url }), [`${name} must be https in production`], url)
      }
    }
  })

  t.test('a key-encryption key with a pattern is rejected, and a random one is not', async t => {
    const pattern = [
      'KEY_ENCRYPTION_KEY has a pattern and can be guessed (make one with: openssl rand -base64 32)'
    ]
    const weakKeys = [
      Buffer.alloc(32),
      Buffer.alloc(32, 0xff),
      Buffer.alloc(32, 'a'),
      Buffer.alloc(32, 'changeme'),
      Buffer.alloc(32, 'secret'),
      Buffer.from(Array.from({ length: 32 }, (_, index) => index)),
      Buffer.from(Array.from({ length: 32 }, (_, index) => 255 - index)),
      Buffer.from('0'.repeat(31) + '1')
    ]
    for (const weakKey of weakKeys) {
      const text = weakKey.toString('base64')
      t.strictSame(problems({ ...production, KEY_ENCRYPTION_KEY: text }), pattern, text)
      t.strictSame(
        problems({ ...production, KEY_ENCRYPTION_KEY: `${key},${text}` }),
        pattern,
        'as the second of two keys'
      )
      t.strictSame(problems({ KEY_ENCRYPTION_KEY: text }), [], 'allowed in development')
    }
    for (let count = 0; count < 2_000; count++) {
      const randomKey = randomBytes(32).toString('base64')
      if (problems({ ...production, KEY_ENCRYPTION_KEY: randomKey }).length > 0) t.fail(randomKey)
    }
    t.strictSame(
      problems({
        ...production,
        KEY_ENCRYPTION_KEY: Buffer.from(randomBytes(16).toString('hex')).toString('base64')
      }),
      [],
      '128 random bits in hexadecimal are not a pattern'
    )
  })

  t.test('with an https issuer, pages over http are rejected unless they are local', async t => {
    for (const origin of [
      'http://app.example.com', 'http://10.0.0.1', 'http://localhost.example.com',
      'http://127.0.0.1.example.com', 'http://[::2]:5173'
    ]) {
      const found = [
        `CORS_ORIGINS must be https if ISSUER_URL is, except for localhost and loopback addresses: ${origin}`
      ]
      t.strictSame(problems({ ...production, CORS_ORIGINS: `https://app.example.com, ${origin}` }), found)
      t.strictSame(
        problems({ ISSUER_URL: 'https://auth.example.com', CORS_ORIGINS: origin }),
        found,
        'also in development'
      )
      t.strictSame(problems({ CORS_ORIGINS: origin }), [], 'allowed with an http issuer')
    }
    t.strictSame(
      problems({
        ...production,
        CORS_ORIGINS:
          'http://localhost, http://localhost:5173, http://tauri.localhost, ' +
          'http://127.0.0.1:8080, http://[::1]:3000'
      }),
      []
    )
  })

  t.test('settings that are probably mistakes cause warnings', async t => {
    const warnings = (environment: Environment) =>
      productionWarnings(
        load({
          ...production,
          HOST: '0.0.0.0',
          DATABASE_URL: 'postgres://latchkey@localhost/latchkey',
          ...environment
        })
      )
    t.strictSame(warnings({}), [])
    matchAll(t, warnings({ HOST: undefined }), [/^HOST is not set: the service listens on 127\.0\.0\.1, /])
    t.strictSame(warnings({ HOST: '127.0.0.1' }), [], 'a proxy on this machine')
    t.strictSame(
      productionWarnings(load({ RATE_LIMIT: 'off', REDIS_URL: 'redis://redis.internal' })),
      [],
      'no warnings outside of production'
    )

    const withoutTls = (name: string) =>
      `${name} reaches db.internal without TLS: what is sent can be read on the way; use sslmode=verify-full`
    const unverified = (name: string) =>
      `${name} reaches db.internal without verifying its certificate: use sslmode=verify-full`
    const url = (query: string, host = 'db.internal') => `postgres://latchkey:one@${host}/latchkey${query}`
    for (const query of ['', '?sslmode=disable', '?ssl=0']) {
      t.strictSame(warnings({ DATABASE_URL: url(query) }), [withoutTls('DATABASE_URL')], query)
      t.strictSame(warnings({ DATABASE_OWNER_URL: url(query) }), [withoutTls('DATABASE_OWNER_URL')], query)
    }
    for (const query of [
      '?sslmode=no-verify',
      '?sslmode=prefer&uselibpqcompat=true',
      '?sslmode=require&uselibpqcompat=true'
    ]) {
      t.strictSame(warnings({ DATABASE_URL: url(query) }), [unverified('DATABASE_URL')], query)
    }
    for (const query of ['?sslmode=verify-full', '?sslmode=allow', '?ssl=true']) {
      t.strictSame(warnings({ DATABASE_URL: url(query) }), [], query)
    }
    for (const host of ['localhost', '127.0.0.1', '[::1]']) {
      t.strictSame(warnings({ DATABASE_URL: url('', host), REDIS_URL: `redis://${host}` }), [], host)
    }
    t.strictSame(
      warnings({ DATABASE_URL: 'postgres:///latchkey?host=/run/postgresql' }),
      [],
      'a socket is on the same host'
    )
    t.strictSame(warnings({ REDIS_URL: 'redis://redis.internal' }), [
      'REDIS_URL reaches redis.internal without TLS: what is sent can be read on the way; use rediss://'
    ])
    t.strictSame(warnings({ REDIS_URL: 'rediss://redis.internal' }), [])

    const cases: Array<[environment: Environment, warning: RegExp]> = [
      [{ RATE_LIMIT: 'off' }, /^RATE_LIMIT is off/],
      [
        { LOGIN_RATE_LIMIT: 'off', LOGIN_NETWORK_LIMIT: 'off', LOGIN_ACCOUNT_LIMIT: 'off' },
        /^LOGIN_RATE_LIMIT, .* are off/
      ],
      [{ ACCESS_TOKEN_TTL: '25h' }, /^ACCESS_TOKEN_TTL is longer than a day/],
      [{ REFRESH_REPLAY_GRACE: '61m' }, /^REFRESH_REPLAY_GRACE is longer than an hour/],
      [{ PASSWORD_RESET_TTL: '2d' }, /^PASSWORD_RESET_TTL is longer than a day/],
      [{ MAGIC_LINK_TTL: '2d' }, /^MAGIC_LINK_TTL is longer than a day/],
      [{ AUDIENCE: 'orders, billing' }, /^AUDIENCE has a comma or a space/],
      [{ DATABASE_PASSWORD: key }, /^the password of DATABASE_URL and KEY_ENCRYPTION_KEY are the same/],
      [
        { DATABASE_PASSWORD: 'one', DATABASE_OWNER_URL: 'postgres://owner:one@localhost/latchkey' },
        /^the password of DATABASE_URL and the password of DATABASE_OWNER_URL are the same/
      ],
      [
        { DATABASE_PASSWORD: 'one two', REDIS_URL: 'redis://:one%20two@localhost' },
        /^the password of DATABASE_URL and the password of REDIS_URL are the same/
      ]
    ]
    for (const [environment, warning] of cases) {
      matchAll(t, warnings(environment), [warning], Object.keys(environment).join())
      for (const secret of [key, 'one two']) {
        t.notOk(warnings(environment).join().includes(secret), 'the warning contains no secret')
      }
    }
    t.strictSame(warnings({ LOGIN_RATE_LIMIT: 'off' }), [], 'one of the sign-in limits may be off')
  })

  t.test('a port of the mail server that does not fit the scheme causes a warning', async t => {
    const warnings = (SMTP_URL: string) =>
      settingWarnings(load({ SMTP_URL, MAIL_FROM: 'login@example.com' }))
    t.match(warnings('smtp://mail.example.com:465'), [/^SMTP_URL begins with smtp:.* use smtps:/])
    t.match(warnings('smtps://mail.example.com:587'), [/^SMTP_URL begins with smtps:.* use smtp:/])
    for (const url of ['smtp://mail:587', 'smtps://mail:465', 'smtp://mail', 'smtps://mail:2465']) {
      t.strictSame(warnings(url), [], url)
    }
  })

  t.test('XOAUTH2 needs all of its settings', async t => {
    const mail = { SMTP_URL: 'smtp://login@mail', MAIL_FROM: 'login@example.com' }
    const oauth = {
      SMTP_OAUTH_TOKEN_URL: 'https://login.example.com/token',
      SMTP_OAUTH_CLIENT_ID: 'mailer',
      SMTP_OAUTH_CLIENT_SECRET: 's3cret'
    }
    t.strictSame(problems({ ...mail, ...oauth }), [])
    const cases: Array<[environment: Environment, problem: RegExp]> = [
      [{ SMTP_OAUTH_CLIENT_ID: undefined }, /^SMTP_OAUTH_CLIENT_ID is required/],
      [{ SMTP_OAUTH_CLIENT_SECRET: undefined }, /^SMTP_OAUTH_CLIENT_SECRET is required/],
      [{ SMTP_URL: 'smtp://mail' }, /^SMTP_URL must have a user and no password with SMTP_OAUTH_TOKEN_URL/],
      [{ SMTP_URL: 'smtp://login:s3cret@mail' }, /^SMTP_URL must have a user and no password/],
      [{ SMTP_OAUTH_TOKEN_URL: 'http://login.example.com/token' }, /^SMTP_OAUTH_TOKEN_URL must be https/],
      [{ SMTP_URL: undefined }, /^SMTP_OAUTH_TOKEN_URL has no effect without SMTP_URL$/]
    ]
    for (const [changes, problem] of cases) {
      matchAll(t, problems({ ...mail, ...oauth, ...changes }), [problem], Object.keys(changes).join())
    }
    t.match(problems({ ...mail, ...oauth, SMTP_OAUTH_TOKEN_URL: undefined }), [
      /^SMTP_OAUTH_CLIENT_ID has no effect/, /^SMTP_OAUTH_CLIENT_SECRET has no effect/
    ])
  })

  t.test('argon2 costs below those of OWASP are rejected', async t => {
    const belowOwasp = /^ARGON2_MEMORY_KIB and ARGON2_TIME_COST are below what OWASP accepts/
    for (const [memory, passes] of [[19_456, 2], [12_288, 3], [9_216, 4], [7_168, 5], [47_104, 1]]) {
      t.strictSame(
        problems({ ...production, ARGON2_MEMORY_KIB: String(memory), ARGON2_TIME_COST: String(passes) }),
        [],
        `${memory}, ${passes}`
      )
    }
    for (const [memory, passes] of [[19_456, 1], [7_168, 4], [7_167, 100], [1_024, 1_000], [9_216, 3]]) {
      matchAll(
        t,
        problems({ ...production, ARGON2_MEMORY_KIB: String(memory), ARGON2_TIME_COST: String(passes) }),
        [belowOwasp],
        `${memory}, ${passes}`
      )
    }
    t.strictSame(
      problems({ ARGON2_MEMORY_KIB: '1024', ARGON2_TIME_COST: '1' }),
      [],
      'cheap hashing is allowed outside of production'
    )
  })
})

t.test('a secret in a file', async t => {
  const files = t.testdir({
    key: `${key}\n`,
    password: 'a p@ss/word\r\n',
    url: 'postgres://latchkey@db/latchkey\n',
    short: 'c2hvcnQ=',
    empty: '\n'
  })
  const pathOf = (name: string) => join(files, name)

  t.test('is read without the blanks around it', async t => {
    const { keyEncryptionKeys, databaseUrl = '' } = load({
      KEY_ENCRYPTION_KEY_FILE: pathOf('key'),
      DATABASE_URL_FILE: ` ${pathOf('url')} `,
      DATABASE_PASSWORD_FILE: pathOf('password')
    })
    t.strictSame(keyEncryptionKeys, [Buffer.from(key, 'base64')])
    t.match(new pg.Client(databaseUrl), { host: 'db', user: 'latchkey', password: 'a p@ss/word' })
    t.strictSame(
      problems({ ...production, KEY_ENCRYPTION_KEY: '', KEY_ENCRYPTION_KEY_FILE: pathOf('key') }),
      [],
      'a key in a file suffices in production'
    )
  })

  t.test('is a problem if the file is unreadable or the variable is set, too', async t => {
    for (const name of ['DATABASE_URL', 'DATABASE_PASSWORD', 'KEY_ENCRYPTION_KEY', 'REDIS_URL', 'SMTP_URL']) {
      const environment = { ...name === 'DATABASE_PASSWORD' && { DATABASE_URL: 'postgres://db/latchkey' } }
      matchAll(t, problems({ ...environment, [`${name}_FILE`]: pathOf('missing') }), [
        new RegExp(`^${name} cannot be read from the file that ${name}_FILE names: ENOENT$`)
      ])
      matchAll(t, problems({ ...environment, [`${name}_FILE`]: files }), [
        new RegExp(`^${name} cannot be read from the file that ${name}_FILE names: EISDIR$`)
      ])
      t.strictSame(problems({ ...environment, [name]: key, [`${name}_FILE`]: pathOf('key') }), [
        `${name} and ${name}_FILE are both set: keep one`
      ])
    }
  })

  t.test('is validated like any other value', async t => {
    matchAll(t, problems({ KEY_ENCRYPTION_KEY_FILE: pathOf('short') }), [
      /^KEY_ENCRYPTION_KEY must be 32 bytes/
    ])
    matchAll(t, problems({ DATABASE_URL_FILE: pathOf('key') }), [/^DATABASE_URL must be a URL/])
    matchAll(
      t,
      problems({ ...production, KEY_ENCRYPTION_KEY: undefined, KEY_ENCRYPTION_KEY_FILE: pathOf('empty') }),
      [/^KEY_ENCRYPTION_KEY is empty in the file/]
    )
  })

  t.test('is only possible for secrets', async t => {
    t.match(load({ PORT_FILE: pathOf('missing'), ISSUER_URL_FILE: pathOf('url') }), {
      port: 3_000,
      issuer: 'http://localhost:3000'
    })
  })
})

t.test('a password that is not percent-encoded in a database URL is refused, and not shown', async t => {
  const host = 'secret-host.internal'
  for (const password of [
    '12/se', '12#se', '12?se', 'se/12', '12?sslmode=se', '12/se@12', 'se?12&port=1', '/12', '12?password=se',
    '12/se?user=se'
  ]) {
    for (const [name, other] of [
      ['DATABASE_URL', 'DATABASE_PASSWORD'], ['DATABASE_DIRECT_URL', 'DATABASE_PASSWORD'],
      ['DATABASE_OWNER_URL', 'DATABASE_OWNER_PASSWORD']
    ] as const) {
      const found = problems({
        DATABASE_URL: 'postgres://db/latchkey',
        [name]: `postgres://latchkey:${password}@${host}:5432/latchkey`
      })
      t.strictSame(found, [`${name} cannot be read: percent-encode the password or use ${other}`], password)
    }
  }
  const connectionOf = (url: string) => parseDatabase(url)
  t.match(connectionOf('postgres://u:p%40%2F%23@h1:5433,[::1]:5434,h3/db?target_session_attrs=read-write'), {
    hosts: [{ host: 'h1', port: 5433 }, { host: '::1', port: 5434 }, { host: 'h3', port: 5432 }],
    options: { user: 'u', password: 'p@/#', database: 'db' }
  })
  t.match(connectionOf('postgres://u:p@/db?host=/var/run/postgresql&connect_timeout=10'), {
    hosts: [{ host: '/var/run/postgresql', port: 5432 }], connectTimeoutMs: 10_000, options: { user: 'u' }
  })
  t.match(connectionOf('postgres://host/db?user=ada@server&channel_binding=require&pgbouncer=true'), {
    hosts: [{ host: 'host' }], options: { user: 'ada@server' }
  })
  for (const [query, problem] of [
    ['target_session_attrs=standby', /has a target_session_attrs that is not read-write, primary or any/],
    ['connect_timeout=soon', /has a connect_timeout that is not a number of seconds/],
    ['sslkey=/missing/key', /names the file \/missing\/key in sslkey, which cannot be read \(ENOENT\)/]
  ] as const) matchAll(t, problems({ DATABASE_URL: `postgres://h/db?${query}` }), [problem])
  const several = load({ DATABASE_URL: 'postgres://u@h1,h2/db', DATABASE_PASSWORD: 'a/b' })
  t.match(connectionOf(several.databaseUrl ?? ''), { options: { password: 'a/b' } })
})

t.test('the password of the database can be set apart from its URL', async t => {
  const connectionOf = (environment: Environment) => new pg.Client(load(environment).databaseUrl ?? '')
  for (const password of [
    'plain', 'a/b:c@d?e#f', '100%', '%41%zz', 'a b+c&d=e', '"\'`\\[]{}|^<>', 'pässwörd 😀', '$PASSWORD',
    'x'.repeat(200)
  ]) {
    t.match(
      connectionOf({
        DATABASE_URL: 'postgres://latchkey@db.internal:5433/accounts?application_name=a%20b',
        DATABASE_PASSWORD: password
      }),
      { user: 'latchkey', host: 'db.internal', port: 5_433, database: 'accounts', password },
      password.slice(0, 30)
    )
  }
  t.match(
    connectionOf({ DATABASE_URL: 'postgres://latch%40key:old@db/accounts', DATABASE_PASSWORD: 'new' }),
    { user: 'latch@key', password: 'new' },
    'it replaces the password in the URL'
  )
  t.match(
    connectionOf({ DATABASE_URL: 'postgres://u@h/d?password=old', DATABASE_PASSWORD: 'new' }),
    { password: 'new' },
    'it replaces a password in the query'
  )
  t.match(
    connectionOf({ DATABASE_URL: 'postgres:///db?host=/run/postgresql', DATABASE_PASSWORD: 'x' }),
    { password: 'x' },
    'it applies to a socket'
  )
  t.match(
    connectionOf({ DATABASE_URL: 'postgres://latchkey:p%40ss@db/accounts' }),
    { password: 'p@ss' },
    'without DATABASE_PASSWORD, the password in the URL applies'
  )
  t.strictSame(problems({ DATABASE_PASSWORD: 'alone' }), [
    'DATABASE_PASSWORD has no effect without DATABASE_URL'
  ])
  matchAll(
    t,
    problems({ DATABASE_PASSWORD: 'alone', DATABASE_URL: 'mysql://db' }),
    [/^DATABASE_URL must be/],
    'a malformed URL is reported once'
  )

  const owner = {
    DATABASE_URL: 'postgres://latchkey@db/accounts',
    DATABASE_OWNER_URL: 'postgres://migrator@db/accounts',
    DATABASE_OWNER_PASSWORD: 'a/b c'
  }
  t.match(
    new pg.Client(load(owner).databaseOwnerUrl ?? ''),
    { user: 'migrator', password: 'a/b c' },
    'the password of the owner can be set apart, too'
  )
  t.strictSame(problems({ DATABASE_OWNER_PASSWORD: 'alone' }), [
    'DATABASE_OWNER_PASSWORD has no effect without DATABASE_OWNER_URL'
  ])
  t.strictSame(problems({ DATABASE_OWNER_URL: 'postgres://migrator@db/accounts' }), [
    'DATABASE_OWNER_URL has no effect without DATABASE_URL'
  ])
})

t.test('no message contains a secret', async t => {
  const secret = 'hunter2hunter2'
  const files = t.testdir({ secret })
  const invalid: Environment[] = [
    { DATABASE_URL: secret },
    { DATABASE_URL: `mysql://latchkey:${secret}@db/latchkey` },
    { DATABASE_URL: `postgres://latchkey:${secret}#@db/latchkey` },
    { DATABASE_URL: `postgres://latchkey:${secret}@db:port/latchkey` },
    { DATABASE_URL_FILE: join(files, 'secret') },
    { DATABASE_URL: `postgres://latchkey:${secret}@db/latchkey`, DATABASE_URL_FILE: join(files, 'secret') },
    { DATABASE_PASSWORD: secret },
    {
      DATABASE_PASSWORD: secret,
      DATABASE_PASSWORD_FILE: join(files, 'secret'),
      DATABASE_URL: 'postgres://db/latchkey'
    },
    { DATABASE_PASSWORD_FILE: join(files, 'secret') },
    { DATABASE_OWNER_URL: secret },
    { DATABASE_OWNER_URL: `postgres://migrator:${secret}@db/latchkey` },
    { DATABASE_OWNER_PASSWORD: secret },
    { DATABASE_OWNER_PASSWORD_FILE: join(files, 'secret') },
    { KEY_ENCRYPTION_KEY: secret },
    { KEY_ENCRYPTION_KEY: `${key},${secret}` },
    { KEY_ENCRYPTION_KEY: key, KEY_ENCRYPTION_KEY_FILE: join(files, 'secret') },
    { KEY_ENCRYPTION_KEY_FILE: join(files, 'secret') },
    { REDIS_URL: secret },
    { REDIS_URL: `redis://latchkey:${secret}@redis/db` },
    { REDIS_URL: `redis://latchkey:${secret}%ff@redis` },
    { REDIS_URL: `redis://latchkey:${secret}@redis:port` },
    { ISSUER_URL: `https://ada:${secret}@auth.example.com` },
    { CORS_ORIGINS: `https://ada:${secret}@app.example.com` }
  ]
  for (const environment of invalid) {
    const error = t.throws(() => load(environment), ConfigError) as ConfigError
    for (const text of [error.message, error.stack ?? '', JSON.stringify(error), String(error.cause)]) {
      t.notOk(text.includes(secret) || text.includes(key), Object.keys(environment).join())
    }
  }
})

t.test('a trusted proxy', async t => {
  const trusts = (ranges: string, address: string) => load({ TRUST_PROXY: ranges }).trustProxy?.(address)

  t.test('is recognised by its address or range', async t => {
    t.ok(trusts('10.0.0.1', '10.0.0.1'))
    t.notOk(trusts('10.0.0.1', '10.0.0.2'))
    t.ok(trusts('10.0.0.0/8', '10.255.255.255'))
    t.ok(trusts('10.1.2.3/8', '10.9.9.9'), 'host bits in the range are ignored')
    t.notOk(trusts('10.0.0.0/8', '11.0.0.0'))
    t.ok(trusts('192.168.1.128/25', '192.168.1.128'))
    t.notOk(trusts('192.168.1.128/25', '192.168.1.127'))
    t.ok(trusts('2001:db8::/32', '2001:db8:ffff::1'))
    t.notOk(trusts('2001:db8::/32', '2001:db9::1'))
    t.ok(trusts('::1', '0:0:0:0:0:0:0:1'))
    t.notOk(trusts('::1', '127.0.0.1'))
  })

  t.test('can be one of several', async t => {
    const ranges = '127.0.0.1, ::1,10.0.0.0/8 , 2001:db8::/32'
    for (const address of ['127.0.0.1', '::1', '10.1.1.1', '2001:db8::9']) {
      t.ok(trusts(ranges, address), address)
    }
    for (const address of ['127.0.0.2', '::2', '9.255.255.255', '2001:db7::']) {
      t.notOk(trusts(ranges, address), address)
    }
  })

  t.test('is the same as IPv4 address and as IPv4-mapped IPv6 address', async t => {
    for (const written of ['::ffff:10.0.0.1', '::FFFF:10.0.0.1', '::ffff:a00:1', '0:0:0:0:0:ffff:10.0.0.1']) {
      t.ok(trusts('10.0.0.0/8', written), written)
      t.notOk(trusts('11.0.0.0/8', written), written)
    }
    for (const range of ['::ffff:10.0.0.1', '::ffff:10.0.0.0/104']) {
      t.ok(trusts(range, '10.0.0.1'), range)
      t.ok(trusts(range, '::ffff:10.0.0.1'), range)
      t.notOk(trusts(range, '11.0.0.1'), range)
    }
  })

  t.test('is never a text that is not an address', async t => {
    for (const address of [
      '', 'unknown', 'localhost', '10.0.0', '10.0.0.1:80', '_hidden', '010.0.0.1', '::ffff:10.0.0',
      '10.0.0.1, 10.0.0.1', '\u0000'
    ]) {
      t.equal(trusts('10.0.0.0/8, ::1', address), false, JSON.stringify(address))
    }
  })
})

t.test('the .env file in the working directory', async t => {
  t.jobs = 2
  const cli = commandOf('src/latchkey.cts')
  const inherited = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !Object.hasOwn(variables, name.replace(/_FILE$/, '')))
  )
  /** The problems that `latchkey config check` finds in a folder. */
  const check = async (folder: string, environment: Environment = {}) =>
    await new Promise<string[]>(resolve => {
      execFile(
        process.execPath,
        [...cli, 'config', 'check', '--json'],
        { cwd: folder, env: { ...inherited, ...environment } },
        (_error, stdout, stderr) => {
          const { ok, problems } = JSON.parse(stdout || stderr)
          resolve(ok ? [] : problems)
        }
      )
    })
  const portProblem = /^PORT must be a whole number/

  t.test('is read in development, and the environment takes precedence', async t => {
    const folder = t.testdir({ '.env': '# a comment\nPORT="http"\nLOG_LEVEL=verbose\n' })
    matchAll(t, await check(folder), [portProblem, /^LOG_LEVEL /])
    matchAll(t, await check(folder, { LOG_LEVEL: 'info' }), [portProblem])
    matchAll(t, await check(folder, { LOG_LEVEL: 'info', PORT: '3000' }), [])
    matchAll(
      t,
      await check(folder, { LOG_LEVEL: 'info', PORT: '' }),
      [],
      'an empty variable takes precedence, too'
    )
    matchAll(t, await check(folder, { NODE_ENV: 'test', LOG_LEVEL: 'info' }), [portProblem])
  })

  t.test('is optional', async t => {
    t.strictSame(await check(t.testdir({})), [])
  })

  t.test('is reported if it cannot be read', async t => {
    matchAll(t, await check(t.testdir({ '.env': {} })), [/^\.env cannot be read: .*EISDIR/])
  })

  t.test('is not read in production', async t => {
    const folder = t.testdir({
      '.env': Object.entries({ ...production, PORT: 'http' })
        .map(([name, value]) => `${name}=${value}\n`)
        .join('')
    })
    matchAll(t, await check(folder, { NODE_ENV: 'production' }), [
      /^DATABASE_URL is required/,
      /^KEY_ENCRYPTION_KEY is required/,
      /^ISSUER_URL is required/
    ])
    t.strictSame(await check(folder, production), [])
  })
})

t.test('.env.example', async t => {
  const text = readFileSync(join(packageFolder, '.env.example'), 'utf8')

  t.test('is generated from the variables', async t => {
    t.equal(text, formatExample())
  })

  t.test('has every variable with its default', async t => {
    t.strictSame(load(parseEnv(text)), load({}), 'the unchanged file sets only defaults')
    const uncommented = parseEnv(text.replace(/^#(?=[A-Z0-9_]+=)/gm, ''))
    t.strictSame(Object.keys(uncommented).sort(), Object.keys(variables).sort())
    t.strictSame(load(uncommented), load({}))
  })
})
