import swagger from '@fastify/swagger'
import type { FastifyContextConfig } from 'fastify'
import fp from 'fastify-plugin'
import type { OpenAPIV3_1 as openapi31 } from 'openapi-types'
import {
  exampleName, failuresOf, oauthFailuresOf, oauthResponse, pageResponse, problemExample,
  problemResponse, type Failure, type FailureResponse
} from '../src/api-document/failure-responses.ts'
import { failureSchemas } from '../src/api-document/failure-schemas.ts'
import { describeRepeatable } from '../src/api-document/form-parameters.ts'
import { describeSuccess } from '../src/api-document/success-descriptions.ts'
import type { OAuthErrorCode } from '../src/http/oauth-error.ts'
import { shareResponses } from '../src/http/shared-responses.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Whether the body may be omitted. */
    isBodyOptional?: boolean
    /** The errors of an OAuth route, besides those of every OAuth route. */
    oauthErrors?: readonly OAuthErrorCode[]
  }
}

export interface OpenapiOptions {
  issuer: string
  version: string
  /** The names of the cookies. */
  refreshCookie: string
  registrationCookie: string
}

interface SuccessResponse { description: string, content?: Record<string, { schema?: object }> }
interface Operation {
  operationId: string
  requestBody?: { required?: boolean, content?: Record<string, object> }
  responses: Record<string, SuccessResponse | FailureResponse | { $ref: string }>
}

/** Generates the API document from the schemas of the routes and the catalogue of problems. */
export default fp(async function openapiDocument (app, options: OpenapiOptions) {
  const configs = new Map<string, FastifyContextConfig>()
  app.addHook('onRoute', ({ schema, config, method }) => {
    if (schema?.operationId && method !== 'HEAD') configs.set(schema.operationId, config ?? {})
  })

  await app.register(swagger, {
    openapi: describeApi(options),
    refResolver: {
      buildLocalReference: (schema, _base, _fragment, index) => String(schema['$id'] ?? `schema-${index}`)
    },
    transformObject: given => {
      if (!('openapiObject' in given)) throw new TypeError('expected an OpenAPI document')
      const { openapiObject: api } = given
      const components = api.components ??= {}
      Object.assign(components.schemas ??= {}, failureSchemas)
      api.paths = Object.fromEntries(
        Object.entries(api.paths ?? {}).sort(([one], [other]) => rank(one) - rank(other))
      )
      const operations = Object.values(api.paths).flatMap(
        path => Object.values(path as Record<string, Operation>)
      )
      const failures = operations.flatMap(
        operation => complete(operation, configs.get(operation.operationId) ?? {})
      )
      components.examples = Object.fromEntries(failures.map(failure =>
        [exampleName(failure), problemExample(failure, options.issuer)]))
      components.responses = shareResponses(operations)
      return api
    }
  })
}, { name: 'openapi' })

const describeApi = (
  { issuer, version, refreshCookie, registrationCookie }: OpenapiOptions
): Partial<openapi31.Document> => ({
  openapi: '3.1.0',
  info: {
    title: 'Latchkey',
    version,
    summary: 'Sign users up and in, and keep them signed in.',
    description: 'A self-hosted login service. Browsers keep the refresh token in an HttpOnly cookie; ' +
      'other clients get it in the body. Access tokens are JWTs (RFC 9068), which any service can verify ' +
      'with the published keys. Every failure outside `/oauth` is a problem document (RFC 9457) with a ' +
      'stable `code`.',
    license: { name: 'MIT', identifier: 'MIT' }
  },
  servers: [{ url: issuer }],
  tags: [
    { name: 'Sign-in', description: 'Sign up, sign in, stay signed in, and sign out.' },
    { name: 'Links', description: 'Request and use mailed links. Each link works once.' },
    { name: 'Account', description: 'The account of the signed-in user.' },
    {
      name: 'Administration',
      description: 'For users who have the role `admin` at the time of the ' +
      'request.'
    },
    { name: 'Verification', description: 'For services that verify access tokens.' },
    {
      name: 'Delegated login',
      description: 'For clients that delegate the login of their users (OAuth 2.1, OpenID Connect).'
    },
    {
      name: 'Services',
      description: 'For services: tokens of their own (RFC 6749), introspection and revocations. ' +
        'Failures are OAuth errors (RFC 6749 section 5.2).'
    },
    { name: 'Operation', description: 'Health and metrics, for operators.' },
    { name: 'Problems', description: 'The meaning of the problem codes.' }
  ],
  components: {
    securitySchemes: {
      bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'An access token.' },
      clientBasic: {
        type: 'http',
        scheme: 'basic',
        description: 'The id and the secret of a client ' +
          '(`client_secret_basic`).'
      },
      clientPost: {
        type: 'oauth2',
        description: 'The id and the secret of a client in the form (`client_secret_post`).',
        flows: { clientCredentials: { tokenUrl: `${issuer}/oauth/token`, scopes: {} } }
      },
      refreshCookie: {
        type: 'apiKey',
        in: 'cookie',
        name: refreshCookie,
        description: 'A refresh token. The service ' +
          'sets the cookie.'
      },
      registrationCookie: {
        type: 'apiKey',
        in: 'cookie',
        name: registrationCookie,
        description: 'Set by a registration. It proves who registered.'
      }
    }
  }
})

// The order in which users, administrators and services need them. Of several that match, the longest counts.
const pathOrder = [
  '/v1/auth/register', '/v1/auth/login', '/v1/auth/refresh', '/v1/auth/logout', '/v1/auth', '/v1/me',
  '/v1/admin/users', '/v1/admin/audit-events', '/v1/admin/clients', '/v1/admin/webhooks', '/v1/admin/keys',
  '/v1/admin',
  '/.well-known/', '/v1/auth/verify', '/oauth', '/livez', '/readyz', '/metrics', '/problems'
]

function rank (path: string): number {
  const matches = pathOrder.filter(prefix => path.startsWith(prefix))
  const longest = matches.reduce((best, prefix) => prefix.length > best.length ? prefix : best, '')
  return longest === '' ? pathOrder.length : pathOrder.indexOf(longest)
}

/**
 * Adds what the schemas of a route do not say: its failures, and what a success returns. Returns its
 * problems.
 */
function complete (operation: Operation, config: FastifyContextConfig): Failure[] {
  const { responses, requestBody } = operation
  for (const [status, response] of Object.entries(responses)) {
    if ('description' in response && response.description === defaultDescription) {
      response.description = describeSuccess(Number(status), response)
    }
  }
  const { problems = [], limit, isBodyOptional, errors, oauthErrors: named = [], renderProblem } = config
  if (requestBody) requestBody.required = !isBodyOptional
  describeRepeatable(requestBody?.content?.['application/x-www-form-urlencoded'] ?? {})
  const hasBody = requestBody !== undefined
  if (errors === 'oauth') {
    for (
      const [status, codes] of oauthFailuresOf(named, hasBody)
    ) responses[status] = oauthResponse(status, codes)
    return []
  }
  const failures = failuresOf({ hasBody, isRateLimited: limit !== 'none', problems })
  const statuses = new Set(failures.map(({ status }) => status))
  for (const status of [...statuses].sort()) {
    const ofStatus = failures.filter(failure => failure.status === status)
    responses[status] = renderProblem ? pageResponse(ofStatus) : problemResponse(ofStatus)
  }
  // A page refers to no example.
  return renderProblem ? [] : failures
}

// What @fastify/swagger writes for a response without a description.
const defaultDescription = 'Default Response'
