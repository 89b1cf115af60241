import swagger from '@fastify/swagger'
import type { FastifyContextConfig } from 'fastify'
import fp from 'fastify-plugin'
import type { OpenAPIV3_1 as openapi31 } from 'openapi-types'
import { oauthErrors, type OAuthErrorCode } from '../src/http/oauth-error.ts'
import { catalogue, confirmationMethods, document, mediaType, passwordReasons, Problem, type Code } from '../src/http/problem.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The body may be left out. */
    optionalBody?: boolean
    /** The failures of an OAuth route beyond those that any of its shape can have. */
    oauthErrors?: readonly OAuthErrorCode[]
  }
}

export interface OpenapiOptions {
  issuer: string
  version: string
  /** The names of cookies. */
  refreshCookie: string
  registrationCookie: string
}

interface Operation {
  operationId: string
  requestBody?: { required?: boolean }
  responses: Record<string, unknown>
}

/** Makes the OpenAPI document from the schemas of the routes and the catalogue of problems. */
export default fp(async function openapiDocument (app, options: OpenapiOptions) {
  const { issuer, version, refreshCookie, registrationCookie } = options
  const configs = new Map<string, FastifyContextConfig>()
  app.addHook('onRoute', ({ schema, config, method }) => {
    if (schema?.operationId && method !== 'HEAD') configs.set(schema.operationId, config ?? {})
  })

  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Latchkey',
        version,
        summary: 'Sign users up and in, and keep them signed in.',
        description: 'A self-hosted login service. Browsers keep the refresh token in an HttpOnly cookie, other clients take it in the body; access tokens are JWTs (RFC 9068) that any service verifies with the published keys. Every failure is a problem document (RFC 9457) with a stable `code`.',
        license: { name: 'MIT', identifier: 'MIT' }
      },
      servers: [{ url: issuer }],
      tags: [
        { name: 'Sign-in', description: 'Sign up, in and out, and stay signed in.' },
        { name: 'Links', description: 'What mailed links do: each is good for one use.' },
        { name: 'Account', description: 'The signed-in user\'s own account.' },
        { name: 'Administration', description: 'For users with the role `admin`, as they have it now.' },
        { name: 'Verification', description: 'What other services need to verify tokens.' },
        { name: 'Services', description: 'For other services: tokens of their own (RFC 6749), and what has become of the users\'. Failures are those of RFC 6749 section 5.2.' },
        { name: 'Operation', description: 'For whoever runs the service.' },
        { name: 'Problems', description: 'What the codes of failures mean.' }
      ],
      components: {
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'An access token.' },
          clientBasic: { type: 'http', scheme: 'basic', description: 'A client\'s id and secret (`client_secret_basic`).' },
          clientPost: { type: 'oauth2', description: 'A client\'s id and secret in the form (`client_secret_post`).', flows: { clientCredentials: { tokenUrl: `${issuer}/oauth/token`, scopes: {} } } },
          refreshCookie: { type: 'apiKey', in: 'cookie', name: refreshCookie, description: 'A refresh token, as the service set it.' },
          registrationCookie: { type: 'apiKey', in: 'cookie', name: registrationCookie, description: 'Set by a registration. It proves who registered.' }
        }
      }
    },
    refResolver: { buildLocalReference: (schema, _base, _fragment, index) => String(schema['$id'] ?? `schema-${index}`) },
    transformObject: given => {
      if (!('openapiObject' in given)) throw new TypeError('an OpenAPI document was expected')
      const { openapiObject: api } = given
      Object.assign((api.components ??= {}).schemas ??= {}, schemas)
      const operations = Object.values(api.paths ?? {}).flatMap(path => Object.values(path as Record<string, Operation>))
      const told = operations.flatMap(operation => complete(operation, configs.get(operation.operationId) ?? {}))
      api.components.examples = Object.fromEntries(told.map(failure => [exampleName(failure), example(failure, issuer)]))
      return api
    }
  })
}, { name: 'openapi' })

const codes = Object.keys(catalogue) as Code[]

interface Failure { code: Code, status: number }

const schemas = {
  Violation: {
    type: 'object',
    description: 'An offending place in the request.',
    required: ['pointer', 'detail'],
    properties: {
      pointer: { type: 'string', description: 'A JSON pointer (RFC 6901).', examples: ['/password'] },
      detail: { type: 'string', examples: ['is required'] }
    }
  },
  OAuthError: {
    type: 'object',
    description: 'What went wrong, in the words of OAuth (RFC 6749 section 5.2).',
    required: ['error'],
    properties: {
      error: { type: 'string', enum: Object.keys(oauthErrors) },
      error_description: { type: 'string', description: 'For a developer.' }
    }
  },
  Problem: {
    type: 'object',
    description: 'What went wrong (RFC 9457).',
    required: ['type', 'title', 'status', 'detail', 'instance', 'code'],
    properties: {
      type: { type: 'string', format: 'uri', description: 'A page about this kind of problem.' },
      title: { type: 'string' },
      status: { type: 'integer' },
      detail: { type: 'string' },
      instance: { type: 'string', description: 'The id of the request, also in `x-request-id`.' },
      code: { type: 'string', enum: codes, description: 'The stable word for this kind of problem.' },
      errors: { type: 'array', items: { $ref: '#/components/schemas/Violation' }, description: 'With `validation_failed`: each offending place.' },
      reasons: { type: 'array', items: { type: 'string', enum: [...passwordReasons] }, description: 'With `password_rejected`: each broken rule.' },
      methods: {
        type: 'array',
        items: { type: 'string', enum: [...confirmationMethods] },
        description: 'With `password_required`, and with `invalid_credentials` for a mailed link: ' +
          'the proofs that would count.'
      }
    }
  }
} satisfies Record<string, openapi31.SchemaObject>

/** What any request may be answered, whatever its route. */
const always: Code[] = ['validation_failed', 'https_required', 'request_timeout', 'headers_too_large', 'internal_error', 'overloaded']

/** Adds what an operation does not say of itself: its failures, and whether its body may be left out. Gives the codes. */
function complete (operation: Operation, config: FastifyContextConfig): Failure[] {
  if (config.errors === 'oauth') return completeOAuth(operation, config)
  const { problems = [], limit, optionalBody } = config
  const failures = new Map<string, Failure>()
  const add = (...told: Array<Code | Failure>) => {
    for (const each of told) {
      const { code, status } = typeof each === 'string' ? { code: each, status: catalogue[each].status[0] } : each
      failures.set(exampleName({ code, status }), { code, status })
    }
  }
  add(...always, ...problems)
  if (operation.requestBody) {
    operation.requestBody.required = !optionalBody
    add('payload_too_large', 'unsupported_media_type')
  }
  if (limit !== 'none') add('too_many_requests')
  const statuses = new Set([...failures.values()].map(({ status }) => status))
  for (const status of [...statuses].sort()) operation.responses[status] = answer([...failures.values()].filter(failure => failure.status === status))
  return [...failures.values()]
}

/** The same for a route that fails in the words of OAuth: no codes of problems. */
function completeOAuth (operation: Operation, { oauthErrors: named = [] }: FastifyContextConfig): never[] {
  const answers: Record<number, OAuthErrorCode[]> = { 400: ['invalid_request'], 403: ['access_denied'], 408: ['invalid_request'], 429: ['temporarily_unavailable'], 431: ['invalid_request'], 500: ['server_error'], 503: ['temporarily_unavailable'] }
  if (operation.requestBody) Object.assign(answers, { 413: ['invalid_request'], 415: ['invalid_request'] })
  for (const code of named) (answers[oauthErrors[code].status] ??= []).push(code)
  for (const [status, codes] of Object.entries(answers)) operation.responses[status] = oauthFailure(Number(status), codes)
  if (operation.requestBody) operation.requestBody.required = true
  return []
}

function oauthFailure (status: number, codes: OAuthErrorCode[]) {
  return {
    description: codes.map(code => `\`${code}\`: ${oauthErrors[code].meaning}`).join(' '),
    ...[429, 503].includes(status) && { headers: retryAfter },
    content: {
      'application/json': {
        schema: { allOf: [{ $ref: '#/components/schemas/OAuthError' }, { type: 'object', properties: { error: { enum: codes } } }] },
        examples: Object.fromEntries(codes.map(error => [error, { value: { error, error_description: oauthErrors[error].meaning } }]))
      }
    }
  }
}

/** A problem document as the service would send it. */
const example = ({ code, status }: Failure, issuer: string) =>
  ({ summary: catalogue[code].title, value: document(issuer, new Problem(code, { status }), '0199e8f2-6c1c-7000-8000-0a1b2c3d4e5f') })
// By its code alone where it has the usual status.
const exampleName = ({ code, status }: Failure) => status === catalogue[code].status[0] ? code : `${code}_${status}`

const retryAfter = { 'retry-after': { schema: { type: 'integer' }, description: 'Seconds after which to try again.' } }

function answer (failures: Failure[]) {
  const codes = failures.map(({ code }) => code)
  const again = failures.some(({ status }) => [429, 503].includes(status))
  return {
    description: codes.map(code => `\`${code}\`: ${catalogue[code].title.toLowerCase()}`).join('; '),
    ...again && { headers: retryAfter },
    content: {
      [mediaType]: {
        schema: { allOf: [{ $ref: '#/components/schemas/Problem' }, { type: 'object', properties: { code: { enum: codes } } }] },
        examples: Object.fromEntries(failures.map(failure => [failure.code, { $ref: `#/components/examples/${exampleName(failure)}` }]))
      }
    }
  }
}
