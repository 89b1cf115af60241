import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import accessToken from '../plugins/access-token.ts'
import authorizationRequests from '../plugins/authorization-requests.ts'
import backchannelLogout from '../plugins/backchannel-logout.ts'
import browserSession from '../plugins/browser-session.ts'
import clientOrigins from '../plugins/client-origins.ts'
import clients from '../plugins/clients.ts'
import database from '../plugins/database.ts'
import deadline from '../plugins/deadline.ts'
import deviceCookie from '../plugins/device-cookie.ts'
import housekeeping from '../plugins/housekeeping.ts'
import idTokens from '../plugins/id-tokens.ts'
import idleness from '../plugins/idleness.ts'
import jobs from '../plugins/jobs.ts'
import jsonBody from '../plugins/json-body.ts'
import keyring from '../plugins/keyring.ts'
import mailer from '../plugins/mailer.ts'
import metrics from '../plugins/metrics.ts'
import metricsPort from '../plugins/metrics-port.ts'
import notFound from '../plugins/not-found.ts'
import notifications from '../plugins/notifications.ts'
import oauthClient from '../plugins/oauth-client.ts'
import openapi from '../plugins/openapi.ts'
import passwords from '../plugins/passwords.ts'
import problems from '../plugins/problems.ts'
import rateLimit from '../plugins/rate-limit.ts'
import refreshCookie from '../plugins/refresh-cookie.ts'
import registrationCookie from '../plugins/registration-cookie.ts'
import requestLog from '../plugins/request-log.ts'
import resourceMetrics from '../plugins/resource-metrics.ts'
import revocations from '../plugins/revocations.ts'
import security from '../plugins/security.ts'
import sessionProof from '../plugins/session-proof.ts'
import throttle from '../plugins/throttle.ts'
import tokenSigning from '../plugins/token-signing.ts'
import transport from '../plugins/transport.ts'
import usernames from '../plugins/usernames.ts'
import webhooks from '../plugins/webhooks.ts'
import routes from '../routes/index.ts'
import { pageAssets } from '../routes/pages/assets.ts'
import type { PageContext } from '../routes/pages/context.ts'
import { problemPage } from '../routes/pages/error-view.ts'
import { sealedColumns } from './capabilities.ts'
import type { Config } from './config/config.ts'
import { productionWarnings, settingWarnings } from './config/warnings.ts'
import type { KeyEncryptionKeys } from './crypto/sealing.ts'
import { basePathOf } from './http/base-path.ts'
import { cookieName } from './http/cookie-name.ts'
import { mailBrand } from './mail/mail-brand.ts'
import { version } from './version.ts'

export interface AppOptions {
  config: Config
  databaseUrl: string
  keyEncryptionKeys: KeyEncryptionKeys
  /** Whether the service is shutting down. */
  isDraining?: () => boolean
  /** Whether the log has the paths of requests in addition to their routes. */
  logsPaths?: boolean
  /** Milliseconds without a request after which the service is idle; a minute by default. */
  idleAfterMs?: number
  /** How long a request waits for the Redis of the rate limit; 100 ms by default. */
  redisTimeoutMs?: number
  /** How long a statement waits for a lock of the database; 250 ms by default. */
  lockTimeoutMs?: number | undefined
  /** How often revocations are read without a notification; every second by default. */
  revocationPollMs?: number | undefined
}

/** The service. Registers its resources and HTTP behaviour in this order, and then its routes. */
export default fp(async function latchkey (app: FastifyInstance, options: AppOptions) {
  const { config, databaseUrl, keyEncryptionKeys, isDraining = () => false, logsPaths = false } = options
  const { idleAfterMs, redisTimeoutMs, lockTimeoutMs, revocationPollMs } = options
  const { issuer, audience, corsOrigins, allowLocalOrigins, trustProxy, lifetimes, signing } = config
  const { serviceName, metricsPort: port } = config
  const pageContext: PageContext = {
    brand: config.brand,
    assets: pageAssets(config.brand),
    issuer,
    basePath: basePathOf(issuer),
    homeUrl: config.homeUrl,
    hasStartPage: !config.production,
    minLength: config.passwords.minLength
  }

  for (const warning of [...settingWarnings(config), ...productionWarnings(config)]) app.log.warn(warning)
  await app.register(problems, {
    issuer,
    renderPage: (problem, request) => problemPage(pageContext, problem, request),
    isOutageLogged: () => app.databaseOutage.isOngoing
  })
  await app.register(requestLog, { logsPaths })
  await app.register(metrics)
  await app.register(deadline, { seconds: config.requestTimeout })
  await app.register(security, { issuer, corsOrigins, allowLocalOrigins })
  await app.register(rateLimit, {
    limit: config.rateLimit, redisUrl: config.redisUrl, redisTimeoutMs, trustProxy
  })
  await app.register(transport, { issuer, trustProxy })
  await app.register(notFound)
  await app.register(jsonBody)
  await app.register(openapi, {
    issuer,
    version,
    refreshCookie: cookieName(issuer, 'refresh_token'),
    registrationCookie: cookieName(issuer, 'registration')
  })
  await app.register(idleness, { intervalSeconds: config.idlePollInterval, afterMs: idleAfterMs })
  await app.register(database, {
    url: databaseUrl,
    directUrl: config.databaseDirectUrl,
    ownerUrl: config.databaseOwnerUrl,
    migrateOnStart: config.migrateOnStart,
    isProduction: config.production,
    lockTimeoutMs
  })
  await app.register(notifications, {
    url: config.databaseDirectUrl ?? databaseUrl, isDirect: config.databaseDirectUrl !== undefined
  })
  await app.register(keyring, {
    keyEncryptionKeys,
    sealedColumns,
    ...signing,
    tokenLifetimes: {
      access_token: lifetimes.accessTokenSeconds,
      refresh_token: lifetimes.refreshTokenSeconds,
      id_token: lifetimes.accessTokenSeconds
    },
    hasPepper: config.passwords.hasPepper
  })
  await app.register(revocations, {
    staleLimitSeconds: config.revocationStaleLimit, pollIntervalMs: revocationPollMs
  })
  await app.register(tokenSigning, {
    issuer,
    audience,
    roles: config.roles,
    tokenClaims: config.tokenClaims,
    lifetimeSeconds: lifetimes.accessTokenSeconds
  })
  await app.register(idTokens, { issuer })
  await app.register(accessToken, { issuer, audience })
  await app.register(clients, {
    issuer,
    audience,
    ...config.clients,
    signingAlgorithm: signing.algorithm,
    privateNetworks: config.webhooks.privateNetworks
  })
  await app.register(clientOrigins, { corsOrigins, allowLocalOrigins })
  await app.register(oauthClient)
  await app.register(refreshCookie, { issuer, corsOrigins, allowLocalOrigins })
  await app.register(authorizationRequests, { keys: keyEncryptionKeys })
  await app.register(browserSession, { issuer, replayGraceSeconds: lifetimes.replayGraceSeconds })
  await app.register(deviceCookie, { issuer, keys: keyEncryptionKeys })
  await app.register(registrationCookie, { issuer, keys: keyEncryptionKeys })
  await app.register(sessionProof, {
    refreshTokenSeconds: lifetimes.refreshTokenSeconds, retryWindowSeconds: lifetimes.retryWindowSeconds
  })
  await app.register(passwords, { ...config.passwords, serviceName, issuer })
  await app.register(usernames, { serviceName })
  await app.register(throttle, { limits: config.throttle, keys: keyEncryptionKeys })

  await app.register(jobs)
  await app.register(mailer, {
    ...config.mail,
    keys: keyEncryptionKeys,
    brand: mailBrand(config.brand, config),
    issuer,
    isProduction: config.production
  })
  await app.register(backchannelLogout, { privateNetworks: config.webhooks.privateNetworks })
  await app.register(webhooks, { ...config.webhooks, keys: keyEncryptionKeys })

  await app.register(resourceMetrics)
  if (port !== undefined) await app.register(metricsPort, { host: config.host, port })
  await app.register(housekeeping, {
    refreshTokenSeconds: lifetimes.refreshTokenSeconds,
    auditRetentionSeconds: config.auditRetention,
    sessionLimit: config.sessionLimit
  })

  await app.register(routes, { config, pageContext, isDraining })
}, { name: 'latchkey' })
