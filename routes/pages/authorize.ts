import { Type } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'
import type { Client } from '../../src/clients/records.ts'
import { matchRedirectUri } from '../../src/clients/redirect-uris.ts'
import {
  AuthorizationError, readAuthorizationRequest, unrepeated, type AuthorizationRequest, type RequestParameters
} from '../../src/delegation/authorization-request.ts'
import { InvalidAuthorizationRequest } from '../../src/delegation/problems.ts'
import type { LinkLives } from '../../src/mail/mail-context.ts'
import type { Typed } from '../typed.ts'
import { advance, respond } from './authorization-flow.ts'
import type { PageContext } from './context.ts'
import { problemPage } from './error-view.ts'
import { adoptLanguage } from './language.ts'
import { formType, maxQueryLength, queryOf } from './refused-form.ts'

export interface AuthorizeOptions { context: PageContext, links: LinkLives }

const parameter = (description: string) => Type.Optional(Type.String({ description }))
const querystring = Type.Object({
  response_type: Type.String({ description: 'Must be `code`.' }),
  client_id: Type.String(),
  redirect_uri: Type.String({ description: 'A registered redirect URI of the client.' }),
  code_challenge: Type.String({ description: 'The SHA-256 of the code verifier, in base64url (RFC 7636).' }),
  code_challenge_method: Type.String({ description: 'Must be `S256`.' }),
  scope: parameter('The requested scopes, separated by spaces. Those that the client may not have are left' +
    ' out. The default is all scopes of the client except `offline_access`.'),
  state: parameter('Returned unchanged in the response.'),
  nonce: parameter('Returned in the ID token.'),
  prompt: parameter('`none`, or some of `login`, `consent`, `select_account` and `create`.'),
  max_age: parameter('The maximum time since the user authenticated, in seconds. If more has passed,' +
    ' the user must sign in again.'),
  login_hint: parameter('The address or username with which the sign-in form is filled in.'),
  ui_locales: parameter('The languages that the client prefers for the pages, separated by spaces.'),
  id_token_hint: parameter('An ID token of the user who is expected. It may have expired.'),
  resource: parameter('A service that the access token is for (RFC 8707). May be repeated.'),
  response_mode: parameter('Must be `query`, which is the default.')
})

/**
 * The authorization endpoint (RFC 6749 section 3.1). It answers a person's browser: with a redirect to the
 * client, to a page of the service, or with an error page if the client is not proven.
 */
const authorize: Typed<AuthorizeOptions> = async (app, { context, links }) => {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(formType, { parseAs: 'string' }, (_request, body, done) => { done(null, body) })
  const config = {
    renderProblem: async (problem: Parameters<typeof problemPage>[1], request: FastifyRequest) =>
      problemPage(context, problem, request)
  }

  app.get('/oauth/authorize', {
    schema: {
      operationId: 'authorize',
      tags: ['Delegated login'],
      summary: 'Sign a user in for a client',
      description: 'The authorization endpoint (RFC 6749 section 3.1, OpenID Connect Core section 3.1.2).' +
        ' Send the browser here. It comes back to the redirect URI with `code`, `state` and `iss`, or with' +
        ' `error`, `error_description`, `state` and `iss`. If the client or the redirect URI is not' +
        ' registered, the browser stays on an error page.',
      security: [],
      querystring,
      response: {
        303: { description: 'A redirect to the client, or to a page of the service.', type: 'null' }
      }
    },
    // The protocol says how each wrong parameter is answered.
    validatorCompiler: () => () => true,
    config: { ...config, problems: ['invalid_authorization_request', 'database_unavailable'] }
  }, async (request, reply) => {
    const parameters = request.query as RequestParameters
    const { client, redirectUri } = await identifyClient(request, parameters)
    const visit = { request, reply, context, links }
    adoptLanguage(request, reply, context.issuer)
    try {
      const { idTokenHint, ...unverified } = readAuthorizationRequest(parameters, client, redirectUri)
      const authorization = { ...unverified, ...await readExpectedUser(request, client, idTokenHint) }
      const progress = { hasSignedIn: false, hasConsented: false }
      return await advance(visit, { authorization, client, progress })
    } catch (error) {
      if (!(error instanceof AuthorizationError)) throw error
      const state = unrepeated(parameters, 'state')
      return respond(visit, {
        authorization: { redirectUri, ...state !== undefined && { state } },
        client,
        response: { error: error.code, error_description: error.message }
      })
    }
  })

  // The cookie of the browser session does not come along with a form of another site. It does with the
  // redirect.
  const form = { schema: { hide: true }, bodyLimit: maxQueryLength, config }
  app.post('/oauth/authorize', form, async (request, reply) => {
    return reply.redirect(`${context.basePath}/oauth/authorize?${queryOf(request.body)}`, 303)
  })
}

/** Reads the user that the client expects from its hint, which is an ID token that was issued to it. */
async function readExpectedUser (
  { server: app }: FastifyRequest, client: Client, idTokenHint: string | undefined
): Promise<Pick<AuthorizationRequest, 'expectedUserId'>> {
  if (idTokenHint === undefined) return {}
  const hint = await app.readIdTokenHint(idTokenHint)
  return { expectedUserId: hint?.client === client.client_id ? hint.sub : null }
}

/** Finds the client and its redirect URI. Throws a problem for the user, because the client is not proven. */
async function identifyClient (
  { server: app }: FastifyRequest, parameters: RequestParameters
): Promise<{ client: Client, redirectUri: string }> {
  const clientId = unrepeated(parameters, 'client_id')
  if (clientId === undefined) throw new InvalidAuthorizationRequest('client_id_missing')
  const client = await app.clients.find(clientId)
  if (!client) throw new InvalidAuthorizationRequest('client_unknown')
  const redirectUri = unrepeated(parameters, 'redirect_uri')
  if (redirectUri === undefined) throw new InvalidAuthorizationRequest('redirect_uri_missing')
  if (!matchRedirectUri(client, redirectUri)) {
    throw new InvalidAuthorizationRequest('redirect_uri_unregistered')
  }
  return { client, redirectUri }
}

export default authorize
