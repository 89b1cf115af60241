import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import formBody from '../plugins/form-body.ts'
import { verifiedEmail } from '../src/authentication/verified-email.ts'
import { commandPrefix } from '../src/config/command-prefix.ts'
import type { Config } from '../src/config/config.ts'
import admin from './admin/index.ts'
import auth from './auth/index.ts'
import documentation from './documentation/index.ts'
import me from './me/index.ts'
import oauth from './oauth/index.ts'
import operations from './operations/index.ts'
import type { PageContext } from './pages/context.ts'
import pages from './pages/index.ts'
import problemPages from './problems/index.ts'
import * as schemas from './schemas.ts'
import type { SignInOptions } from './sign-in.ts'
import { strict } from './typed.ts'
import wellKnown from './well-known/index.ts'

export interface RoutesOptions {
  config: Config
  pageContext: PageContext
  /** Whether the service is shutting down. */
  isDraining: () => boolean
}

/** All routes of the service. */
export default fp(async function routes (app: FastifyInstance, options: RoutesOptions) {
  const { config, pageContext, isDraining } = options
  const { issuer, audience, roles, serviceName, lifetimes, signing } = config
  const { basePath } = pageContext
  for (const schema of schemas.shared) app.addSchema(schema)
  const signIn: SignInOptions = {
    lifetimes,
    sessionLimit: config.sessionLimit,
    links: config.links,
    requirements: config.requireEmailVerification ? [verifiedEmail] : [],
    requiresVerification: config.requireEmailVerification
  }
  await app.register(v1, { prefix: '/v1', signIn, roles, emailClaim: emailClaimOf(config.tokenClaims) })
  await app.register(oauthRoutes, { prefix: '/oauth', issuer, audience, roles, signIn })
  await app.register(wellKnown, {
    prefix: '/.well-known',
    issuer,
    jwksMaxAgeSeconds: signing.jwksMaxAgeSeconds,
    hasDocs: config.docs,
    algorithm: signing.algorithm,
    roles
  })
  const servesMetrics = config.metrics && config.metricsPort === undefined
  await app.register(operations, { isDraining, servesMetrics })
  await app.register(documentation, { hasPage: config.docs, basePath })
  await app.register(problemPages, { prefix: '/problems' })
  await app.register(pages, {
    context: pageContext,
    signIn,
    serviceName,
    hasDocs: config.docs,
    commandPrefix: commandPrefix(config),
    isProduction: config.production
  })
}, { name: 'routes' })

const emailClaimOf = ({ names, namespace }: Config['tokenClaims']) =>
  names.includes('email') ? `${namespace}email` : undefined

interface V1Options { signIn: SignInOptions, roles: Config['roles'], emailClaim: string | undefined }

async function v1 (app: FastifyInstance, { signIn, roles, emailClaim }: V1Options) {
  const { links, requiresVerification, lifetimes: { accessTokenSeconds, refreshTokenSeconds } } = signIn
  // An unknown query parameter is refused, like an unknown property of a body.
  app.addHook('onRoute', route => { route.schema = { querystring: strict({}), ...route.schema } })
  await app.register(auth, { prefix: '/auth', signIn, emailClaim })
  await app.register(me, { prefix: '/me', refreshTokenSeconds, links, requiresVerification })
  const rules = { roles, accessTokenSeconds }
  await app.register(admin, { prefix: '/admin', refreshTokenSeconds, links, rules })
}

type OAuthRoutesOptions = Pick<Config, 'issuer' | 'audience' | 'roles'> & { signIn: SignInOptions }

async function oauthRoutes (app: FastifyInstance, options: OAuthRoutesOptions) {
  const { issuer, audience, roles, signIn: { lifetimes, links } } = options
  await app.register(formBody)
  await app.register(oauth, { issuer, audience, roles, lifetimes, links })
}
