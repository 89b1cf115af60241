import { Type } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'
import { signOut } from '../../src/accounts/sign-out.ts'
import { isKnownDevice } from '../../src/authentication/known-device.ts'
import { invalidToken, notFound } from '../../src/http/problems.ts'
import { describe } from '../../src/http/user-agent.ts'
import { endOwn } from '../../src/sessions/ending.ts'
import { list } from '../../src/sessions/listing.ts'
import * as sessions from '../../src/sessions/owner.ts'
import { forgetDevices } from '../../src/users/credential.ts'
import { id, page, pageOf, paging, Session } from '../schemas.ts'
import { originOf, strict, userOf, type Typed } from '../typed.ts'

export interface OwnSessionsOptions {
  /** The lifetime of a refresh token. */
  refreshTokenSeconds: number
}

const endSessionsDescription = [
  'Ends all sessions of the user except the current one; with `include_current`, all of them. A requested',
  'change of address that is not confirmed yet is cancelled. If the request comes from a known device, all',
  'other known devices are forgotten.'
].join(' ')

/** The sessions of the signed-in user. */
const ownSessions: Typed<OwnSessionsOptions> = async (app, { refreshTokenSeconds }) => {
  const security = [{ bearer: [] }]

  // The claims may be older than a change of the account, or than the session's end on another instance.
  async function requireUserId (request: FastifyRequest): Promise<string> {
    const user = await sessions.findUser(app.db, userOf(request).sid)
    if (!user) throw invalidToken(true, 'the session has ended')
    return user.id
  }

  app.get('', {
    schema: {
      operationId: 'listSessions',
      tags: ['Account'],
      summary: 'List your sessions',
      description: 'Lists the sessions that can be refreshed, newest first.',
      security,
      querystring: strict(paging),
      response: { 200: page(Session) }
    },
    config: { problems: ['invalid_token', 'forbidden', 'database_unavailable'] }
  }, async request => {
    const { limit = 20, cursor } = request.query
    const { sid } = userOf(request)
    const userId = await requireUserId(request)
    const liveSessions = await list(app.db, userId, { refreshTokenSeconds, before: cursor, limit: limit + 1 })
    const items = liveSessions.map(session => ({
      ...session, ...describe(session.user_agent), current: session.id === sid
    }))
    return pageOf(items, limit, ({ id }) => id)
  })

  app.delete('/:id', {
    schema: {
      operationId: 'endSession',
      tags: ['Account'],
      summary: 'End one of your sessions',
      description: 'Signs the user out on that device. For the current session, the cookie is cleared.',
      security,
      params: strict({ id }),
      response: { 204: { type: 'null', description: 'The session has ended.' } }
    },
    config: { problems: ['invalid_token', 'forbidden', 'not_found', 'database_unavailable'] }
  }, async (request, reply) => {
    const { id } = request.params
    const session = { userId: await requireUserId(request), sessionId: id }
    if (!await endOwn(app.db, session, 'ended_by_user', originOf(request))) throw notFound()
    if (id === userOf(request).sid) reply.clearRefreshCookie()
    return reply.code(204).send()
  })

  app.delete('', {
    schema: {
      operationId: 'endSessions',
      tags: ['Account'],
      summary: 'End your sessions',
      description: endSessionsDescription,
      security,
      querystring: strict({
        include_current: Type.Optional(Type.Boolean({
          description: 'Whether the session of the request ends too.', default: false
        }))
      }),
      response: { 204: { type: 'null', description: 'The sessions have ended.' } }
    },
    config: { problems: ['invalid_token', 'forbidden', 'database_unavailable'] }
  }, async (request, reply) => {
    const { include_current: includesCurrent = false } = request.query
    const { account } = await sessions.findAccount(app.db, userOf(request)) ?? {}
    if (!account) throw invalidToken(true, 'the session has ended')
    // Only a known device forgets the others. A thief who has only the access token could otherwise make the
    // owner's devices unknown, and then lock out sign-ins from unknown devices.
    const subject = { userId: account.id, now: account.now, knownFrom: account.devices_known_from }
    const isKnown = request.device && isKnownDevice(request.device, subject)
    const devicesKnownFrom = isKnown ? await forgetDevices(app.db, account.id) : undefined
    const except = includesCurrent ? undefined : userOf(request).sid
    await signOut(app.db, { userId: account.id, except, reason: 'ended_by_user' }, originOf(request))
    if (includesCurrent) reply.clearRefreshCookie()
    else if (devicesKnownFrom) reply.setDeviceCookie(account.id, devicesKnownFrom)
    return reply.code(204).send()
  })
}

export default ownSessions
