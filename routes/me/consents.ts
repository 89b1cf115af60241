import { Type } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'
import { listConsents, revokeConsent } from '../../src/delegation/consents.ts'
import { invalidToken, notFound } from '../../src/http/problems.ts'
import * as sessions from '../../src/sessions/owner.ts'
import { id, page, pageOf, paging, time } from '../schemas.ts'
import { originOf, strict, userOf, type Typed } from '../typed.ts'

const Consent = strict({
  client_id: Type.String({ format: 'uuid' }),
  name: Type.String({ description: 'The name of the client.' }),
  scopes: Type.Array(Type.String(), { description: 'The scopes that the user has allowed.' }),
  audiences: Type.Array(Type.String(), { description: 'The resources that the user has allowed.' }),
  granted_at: time('When the user last gave consent.'),
  last_used_at: time('When the client last signed the user in.')
}, {
  $id: 'Consent',
  examples: [{
    client_id: '0199e8f2-6c1c-7000-8000-0a1b2c3d4e5f',
    name: 'Orders',
    scopes: ['email', 'openid', 'profile'],
    audiences: [],
    granted_at: '2026-11-22T09:00:00.000Z',
    last_used_at: '2026-11-22T09:00:00.000Z'
  }]
})

/** The routes on which users see and revoke what they have allowed other applications. */
const consents: Typed = async (app) => {
  app.addSchema(Consent)

  // The claims may be older than the end of the session on another instance.
  async function requireUserId (request: FastifyRequest): Promise<string> {
    const user = await sessions.findUser(app.db, userOf(request).sid)
    if (!user) throw invalidToken(true, 'the session has ended')
    return user.id
  }

  app.get('/consents', {
    schema: {
      operationId: 'listConsents',
      tags: ['Account'],
      summary: 'List your consents',
      description: 'Lists the applications that the caller has allowed to use their account, by client id.',
      security: [{ bearer: [] }],
      querystring: strict(paging),
      response: { 200: page(Consent) }
    },
    config: { problems: ['invalid_token', 'forbidden', 'database_unavailable'] }
  }, async request => {
    const { cursor: after, limit = 20 } = request.query
    const rows = await listConsents(app.db, await requireUserId(request), { after, limit: limit + 1 })
    return pageOf(rows, limit, ({ client_id: clientId }) => clientId)
  })

  app.delete('/consents/:client_id', {
    schema: {
      operationId: 'revokeConsent',
      tags: ['Account'],
      summary: 'Revoke your consent to an application',
      description: 'Ends the sessions of the application for the caller, even those with `offline_access`.' +
        ' The application must then ask for consent again.',
      security: [{ bearer: [] }],
      params: strict({ client_id: id }),
      response: { 204: { type: 'null', description: 'The consent is revoked.' } }
    },
    config: { problems: ['invalid_token', 'forbidden', 'not_found', 'database_unavailable'] }
  }, async (request, reply) => {
    const { client_id: clientId } = request.params
    const consent = { userId: await requireUserId(request), clientId }
    if (!await revokeConsent(app.db, consent, originOf(request))) throw notFound()
    return reply.code(204).send()
  })
}

export default consents
