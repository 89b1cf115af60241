import { Type } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'
import { signOut } from '../../src/accounts/sign-out.ts'
import { knows } from '../../src/authentication/device.ts'
import { invalidToken, notFound } from '../../src/http/problem.ts'
import { endOwn } from '../../src/sessions/ending.ts'
import * as sessions from '../../src/sessions/owner.ts'
import { list } from '../../src/sessions/listing.ts'
import { describe } from '../../src/http/user-agent.ts'
import { forgetDevices } from '../../src/users/credential.ts'
import { id, page, pageOf, paging, Session } from '../schemas.ts'
import { originOf, strict, type Typed } from '../typed.ts'

export interface OwnSessionsOptions {
  /** The life of a refresh token, in seconds. */
  refreshToken: number
}

/** The own sessions: where one is signed in. */
const ownSessions: Typed<OwnSessionsOptions> = async (app, { refreshToken }) => {
  const security = [{ bearer: [] }]

  // The claims may be older than a change of the account, and the session's end on another instance.
  async function userId (request: FastifyRequest): Promise<string> {
    const user = await sessions.findUser(app.db, request.bearer.sid)
    if (!user) throw invalidToken(true, 'the session has ended')
    return user.id
  }

  app.get('', {
    schema: {
      operationId: 'listSessions',
      tags: ['Account'],
      summary: 'List the own sessions',
      description: 'Where the user is signed in, the newest first.',
      security,
      querystring: strict(paging),
      response: { 200: page(Session) }
    },
    config: { problems: ['invalid_token', 'forbidden', 'database_unavailable'] }
  }, async request => {
    const { limit = 20, cursor } = request.query
    const found = await list(app.db, await userId(request), { refreshToken, before: cursor, limit: limit + 1 })
    return pageOf(found.map(session => ({ ...session, ...describe(session.user_agent), current: session.id === request.bearer.sid })), limit, ({ id }) => id)
  })

  app.delete('/:id', {
    schema: {
      operationId: 'endSession',
      tags: ['Account'],
      summary: 'End one of the own sessions',
      description: 'Signs the user out there; the own session too can be ended so, and its cookie is cleared.',
      security,
      params: strict({ id }),
      response: { 204: { type: 'null', description: 'The session has ended.' } }
    },
    config: { problems: ['invalid_token', 'forbidden', 'not_found', 'database_unavailable'] }
  }, async (request, reply) => {
    const { id } = request.params
    const ended = await endOwn(
      app.db, { userId: await userId(request), sessionId: id }, 'ended_by_user', originOf(request))
    if (!ended) throw notFound()
    app.revocations.add(ended)
    if (id === request.bearer.sid) reply.clearRefreshCookie()
    return reply.code(204).send()
  })

  app.delete('', {
    schema: {
      operationId: 'endSessions',
      tags: ['Account'],
      summary: 'End the own sessions',
      description: 'Signs the user out everywhere but here; with `include_current` here too. It voids a change of address that was requested and is not confirmed yet. Called from a device that the account knows, the devices there are strangers again.',
      security,
      querystring: strict({ include_current: Type.Optional(Type.Boolean({ description: 'Whether the session of this request ends too.', default: false })) }),
      response: { 204: { type: 'null', description: 'The sessions have ended.' } }
    },
    config: { problems: ['invalid_token', 'forbidden', 'database_unavailable'] }
  }, async (request, reply) => {
    const { include_current: everywhere = false } = request.query
    const { account } = await sessions.findAccount(app.db, request.bearer.sid) ?? {}
    if (!account) throw invalidToken(true, 'the session has ended')
    // A thief of the token alone, by whom the owner became a stranger everywhere, could then keep strangers from signing in.
    const isKnown = request.device && knows(request.device, account.id, account.now, account.devices_known_from)
    const devicesKnownFrom = isKnown ? await forgetDevices(app.db, account.id) : undefined
    const except = everywhere ? undefined : request.bearer.sid
    app.revocations.add(await signOut(app.db, { userId: account.id, except, reason: 'ended_by_user' }, originOf(request)))
    if (everywhere) reply.clearRefreshCookie()
    else if (devicesKnownFrom) reply.setDeviceCookie(account.id, devicesKnownFrom)
    return reply.code(204).send()
  })
}

export default ownSessions
