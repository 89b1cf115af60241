import { invalidGrant, invalidRequest } from '../../../src/http/oauth-error.ts'
import { Problem } from '../../../src/http/problem.ts'
import { notification } from '../../../src/mail/mail-context.ts'
import { rotate } from '../../../src/sessions/rotation.ts'
import { mailContextOf, originOf } from '../../typed.ts'
import type { Grant } from './grant.ts'
import { issueSessionTokens } from './session-tokens.ts'

/**
 * New tokens of a client session (RFC 6749 section 6). The rotation is that of first-party sessions: a lost
 * response can be repeated, and reuse ends the session.
 */
export const refreshToken: Grant = async (app, options, { request, client, parameters }) => {
  const { refresh_token: presented } = parameters
  if (presented === undefined) throw invalidRequest('The parameter refresh_token is missing.')
  const token = await app.keyring.readRefreshToken(presented)
  if (!token) throw invalidGrant(refused)
  const origin = { ...originOf(request), clientId: client.client_id }
  try {
    const session = await rotate(app.db, token, options.lifetimes, {
      origin,
      clientId: client.client_id,
      assertAwaited: () => { request.deadline.throwIfAborted() },
      sealNotification: () =>
        notification(mailContextOf(request, options.links), 'session_replayed', origin),
      onLostState: details => {
        request.log.warn(details, 'refresh token is newer than the database: recent writes were lost')
      }
    })
    return issueSessionTokens(app, options, { client, session, parameters })
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== 'invalid_refresh_token') throw error
    throw invalidGrant(refused, error.cause)
  }
}

const refused = 'The refresh token is unknown, expired, revoked or used, or was issued to another client.'
