import { Type } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'
import type { Client } from '../../src/clients/records.ts'
import { matchPostLogoutRedirectUri } from '../../src/clients/redirect-uris.ts'
import { unrepeated, type RequestParameters } from '../../src/delegation/authorization-request.ts'
import { maxSealedLength } from '../../src/delegation/sealed-request.ts'
import { isOfBrowser } from '../../src/delegation/sign-out.ts'
import type { LinkLives } from '../../src/mail/mail-context.ts'
import type { IdTokenHint } from '../../src/tokens/id-token.ts'
import type { Typed } from '../typed.ts'
import { findSessionToEnd, redirectAway } from './authorization-flow.ts'
import type { PageContext } from './context.ts'
import { problemPage } from './error-view.ts'
import { adoptLanguage } from './language.ts'
import { formType, maxQueryLength, queryOf } from './refused-form.ts'
import { signOutBrowser } from './sign-out.ts'

export interface EndSessionOptions { context: PageContext, links: LinkLives }

// An ID token contains the nonce of its client, of any length that a request can have.
const maxHintLength = 8_192

const parameter = (description: string) => Type.Optional(Type.String({ description }))

/** The end session endpoint (OpenID Connect RP-Initiated Logout 1.0). */
const endSession: Typed<EndSessionOptions> = async (app, { context, links }) => {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(formType, { parseAs: 'string' }, (_request, body, done) => { done(null, body) })
  const config = {
    renderProblem: async (problem: Parameters<typeof problemPage>[1], request: FastifyRequest) =>
      problemPage(context, problem, request)
  }

  app.get('/oauth/logout', {
    schema: {
      operationId: 'rpInitiatedLogout',
      tags: ['Delegated login'],
      summary: 'Sign a user out for a client',
      description: 'The end session endpoint (OpenID Connect RP-Initiated Logout 1.0). Send the browser' +
        ' here. It ends the browser session and its client sessions, except those with `offline_access`. If' +
        ' the ID token does not belong to this browser\'s session, a page asks the user first. Then the' +
        ' browser goes on to the registered `post_logout_redirect_uri`.',
      security: [],
      querystring: Type.Object({
        id_token_hint: parameter('The ID token of the user. It may have expired.'),
        client_id: parameter('The client. It must be the one that the ID token was issued to.'),
        post_logout_redirect_uri: parameter('A registered URI. It needs `id_token_hint`.'),
        state: parameter('Returned unchanged in the redirect.'),
        ui_locales: parameter('The languages that the client prefers for the pages, separated by spaces.'),
        logout_hint: parameter('Latchkey ignores it. The page names the account that is signed in.')
      }),
      response: { 303: { description: 'A redirect to the client, or to a page.', type: 'null' } }
    },
    validatorCompiler: () => () => true,
    config: { ...config, problems: ['database_unavailable'] }
  }, async (request, reply) => {
    const parameters = request.query as RequestParameters
    const visit = { request, reply, context, links }
    const hint = await readHint(request, parameters)
    const redirectUrl = hint && redirectUrlOf(parameters, hint.client)
    const session = await findSessionToEnd(visit)
    const isProven = session !== undefined && hint?.sid !== undefined &&
      await isOfBrowser(app.db, hint.sid, session.id)
    // A redirect to the client needs no language.
    if (redirectUrl === undefined || (session && !isProven)) adoptLanguage(request, reply, context.issuer)
    if (session && !isProven) {
      const sealed = app.sealedRequests.seal({
        kind: 'sign_out', redirectUrl, clientName: redirectUrl && hint.client.name
      })
      // A client's long state must not keep its user from signing out.
      const query = sealed.length > maxSealedLength ? '' : `?request=${sealed}`
      return reply.redirect(`${context.basePath}/sign-out${query}`, 303)
    }
    // If no user is signed in, there is nothing to end, and no other site may clear a cookie.
    if (session) await signOutBrowser(visit, session)
    return redirectUrl === undefined
      ? reply.redirect(`${context.basePath}/signed-out`, 303)
      : redirectAway(visit, redirectUrl, hint?.client.name)
  })

  const form = { schema: { hide: true }, bodyLimit: maxQueryLength, config }
  app.post('/oauth/logout', form, async (request, reply) => {
    return reply.redirect(`${context.basePath}/oauth/logout?${queryOf(request.body)}`, 303)
  })
}

/** Reads the ID token of a request, and its client. Returns undefined unless both are known here. */
async function readHint (
  { server: app }: FastifyRequest, parameters: RequestParameters
): Promise<{ sid: IdTokenHint['sid'], client: Client } | undefined> {
  const token = unrepeated(parameters, 'id_token_hint', maxHintLength)
  const hint = token === undefined ? undefined : await app.readIdTokenHint(token)
  const client = hint && await app.clients.find(hint.client)
  if (!client) return undefined
  const clientId = parameters['client_id']
  if (clientId !== undefined && clientId !== '' && clientId !== client.client_id) return undefined
  return { sid: hint.sid, client }
}

/** Returns where the browser goes after the sign-out; undefined unless the client has registered it. */
function redirectUrlOf (parameters: RequestParameters, client: Client): string | undefined {
  const uri = unrepeated(parameters, 'post_logout_redirect_uri')
  if (uri === undefined || !matchPostLogoutRedirectUri(client, uri)) return undefined
  const state = unrepeated(parameters, 'state')
  if (state === undefined) return uri
  return `${uri}${uri.includes('?') ? '&' : '?'}${new URLSearchParams({ state }).toString()}`
}

export default endSession
