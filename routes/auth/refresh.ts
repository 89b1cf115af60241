import { Type } from '@sinclair/typebox'
import { notification } from '../../src/mail/mail-context.ts'
import { validationFailed } from '../../src/http/problems.ts'
import { invalidRefreshToken } from '../../src/sessions/problems.ts'
import { rotate } from '../../src/sessions/rotation.ts'
import { refreshToken, TokenResponse } from '../schemas.ts'
import { mailContextOf, noBody, originOf, ref, strict, type Typed } from '../typed.ts'
import { tokenResponse, type SignInOptions } from '../sign-in.ts'

const refresh: Typed<SignInOptions> = async (app, { lifetimes, links }) => {
  app.post('/refresh', {
    schema: {
      operationId: 'refresh',
      tags: ['Sign-in'],
      summary: 'Refresh the session',
      description: 'Exchanges a refresh token for a new one and an access token, delivered the way the old one came: with the cookie and no body, or in the body. A request whose answer was lost is repeated with the same token; a token that returns after its successor was used ends the session.',
      security: [{ refreshCookie: [] }, {}],
      body: strict({ refresh_token: Type.Optional(refreshToken) }, { examples: [{}, { refresh_token: 'lkr_AQIDBAUG…' }] }),
      response: { 200: ref(TokenResponse) }
    },
    preValidation: noBody,
    config: { optionalBody: true, counted: 'refreshes', problems: ['invalid_refresh_token', 'cross_site_request', 'overloaded', 'database_unavailable'] }
  }, async (request, reply) => {
    const cookies = request.refreshCookies()
    const { refresh_token: sent } = request.body
    if (sent !== undefined && cookies.length > 0) throw validationFailed('The refresh token came both in the cookie and in the body.')
    if (cookies.length > 1) throw invalidRefreshToken('two cookies of the name')
    const token = await app.keyring.readRefreshToken(sent ?? cookies[0] ?? '')
    if (!token) throw invalidRefreshToken()
    const origin = originOf(request)
    const session = await rotate(app.db, token, lifetimes, {
      origin,
      assertAwaited: () => { request.deadline.throwIfAborted() },
      sealNotification: () => notification(mailContextOf(request, links), 'session_replayed', origin),
      onLostState: details => {
        request.log.warn(details, 'refresh token is newer than the database: recent writes were lost')
      }
    })
    return tokenResponse(reply, session, { lifetimes, delivery: sent === undefined ? 'cookie' : 'body' })
  })
}

export default refresh
