import { Type } from '@sinclair/typebox'
import { notification } from '../../src/mail/mail-context.ts'
import { invalidRefreshToken } from '../../src/sessions/problems.ts'
import { rotate } from '../../src/sessions/rotation.ts'
import { refreshTokenSentTwice } from '../refresh-token-source.ts'
import { refreshToken, TokenResponse } from '../schemas.ts'
import { tokenResponse, type SignInOptions } from '../sign-in.ts'
import { mailContextOf, allowMissingBody, originOf, ref, strict, type Typed } from '../typed.ts'

const description = [
  'Exchanges a refresh token for a new access token and a new refresh token. Send the refresh token in the',
  'cookie, without a body, or in the body; the new one is delivered in the same way. If the response is',
  'lost, repeat the request with the same token. After its successor was used, a token is refused; after a',
  'grace period, its use ends the session.'
].join(' ')

const refresh: Typed<SignInOptions> = async (app, { lifetimes, links }) => {
  app.post('/refresh', {
    schema: {
      operationId: 'refresh',
      tags: ['Sign-in'],
      summary: 'Refresh the session',
      description,
      security: [{ refreshCookie: [] }, {}],
      body: strict({ refresh_token: Type.Optional(refreshToken) }, {
        examples: [{}, { refresh_token: 'lkr_AQIDBAUG…' }]
      }),
      response: { 200: ref(TokenResponse) }
    },
    preValidation: allowMissingBody,
    config: {
      isBodyOptional: true,
      counted: 'refreshes',
      problems: ['invalid_refresh_token', 'cross_site_request', 'overloaded', 'database_unavailable']
    }
  }, async (request, reply) => {
    const cookies = request.refreshCookies()
    const { refresh_token: bodyToken } = request.body
    if (bodyToken !== undefined && cookies.length > 0) throw refreshTokenSentTwice()
    const presented = bodyToken === undefined ? cookies : [bodyToken]
    const read = await Promise.all(presented.map(async each => await app.keyring.readRefreshToken(each)))
    const [token, ...others] = read.filter(each => each !== undefined)
    if (!token) throw invalidRefreshToken()
    if (others.length > 0) throw invalidRefreshToken('more than one authentic refresh cookie')
    const origin = originOf(request)
    const session = await rotate(app.db, token, lifetimes, {
      origin,
      assertAwaited: () => { request.deadline.throwIfAborted() },
      sealNotification: () => notification(mailContextOf(request, links), 'session_replayed', origin),
      onLostState: details => {
        request.log.warn(details, 'refresh token is newer than the database: recent writes were lost')
      }
    })
    const delivery = bodyToken === undefined ? 'cookie' : 'body'
    return tokenResponse(reply, session, { lifetimes, delivery })
  })
}

export default refresh
