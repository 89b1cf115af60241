import { endSessions } from '../../src/accounts/administration.ts'
import { notFound } from '../../src/http/problems.ts'
import { describe } from '../../src/http/user-agent.ts'
import { list } from '../../src/sessions/listing.ts'
import { find } from '../../src/users/listing.ts'
import { id, page, pageOf, paging } from '../schemas.ts'
import { originOf, strict, type Typed } from '../typed.ts'
import { UserSession } from './schemas.ts'

export interface UserSessionsOptions {
  /** The lifetime of a refresh token. */
  refreshTokenSeconds: number
}

/** The sessions of a user. */
const userSessions: Typed<UserSessionsOptions> = async (app, { refreshTokenSeconds }) => {
  const shared = { tags: ['Administration'], security: [{ bearer: [] }], params: strict({ id }) }
  const config = { problems: ['invalid_token', 'forbidden', 'not_found', 'database_unavailable'] as const }

  app.get('', {
    schema: {
      ...shared,
      operationId: 'listUserSessions',
      summary: 'List the sessions of a user',
      description: 'Lists the sessions of the user, newest first.',
      querystring: strict(paging),
      response: { 200: page(UserSession) }
    },
    config
  }, async request => {
    const { params: { id }, query: { limit = 20, cursor } } = request
    if (!await find(app.db, id)) throw notFound()
    const sessions = await list(app.db, id, { refreshTokenSeconds, before: cursor, limit: limit + 1 })
    const items = sessions.map(session => ({ ...session, ...describe(session.user_agent) }))
    return pageOf(items, limit, ({ id }) => id)
  })

  app.delete('', {
    schema: {
      ...shared,
      operationId: 'endUserSessions',
      summary: 'End the sessions of a user',
      description: 'Signs the user out on all devices, and forgets their known devices.',
      response: { 204: { type: 'null', description: 'The sessions have ended.' } }
    },
    config
  }, async (request, reply) => {
    if (!await endSessions(app.db, request.params.id, originOf(request))) throw notFound()
    return reply.code(204).send()
  })
}

export default userSessions
