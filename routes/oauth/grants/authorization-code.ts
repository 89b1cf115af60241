import { redeemCode } from '../../../src/delegation/authorization-codes.ts'
import { invalidRequest } from '../../../src/http/oauth-error.ts'
import { originOf } from '../../typed.ts'
import type { Grant } from './grant.ts'
import { allowedAudience, assertKeys, issueSessionTokens, requestedAudience } from './session-tokens.ts'

const verifierSyntax = /^[A-Za-z0-9._~-]{43,128}$/

/** The tokens of a user who signed in for the client (RFC 6749 section 4.1.3, RFC 7636 section 4.5). */
export const authorizationCode: Grant = async (app, options, { request, client, parameters }) => {
  const { code, redirect_uri: redirectUri, code_verifier: codeVerifier, resource } = parameters
  if (code === undefined) throw invalidRequest('The parameter code is missing.')
  if (redirectUri === undefined) throw invalidRequest('The parameter redirect_uri is missing.')
  if (codeVerifier === undefined) throw invalidRequest('The parameter code_verifier is missing.')
  if (!verifierSyntax.test(codeVerifier)) throw invalidRequest('The code_verifier is malformed.')
  assertKeys(app, client)
  const presented = {
    code,
    clientId: client.client_id,
    redirectUri,
    codeVerifier,
    audience: requestedAudience(parameters),
    allowedAudience: allowedAudience(client, options)
  }
  const { session, nonce } = await redeemCode(app.db, presented, {
    lifetimes: options.lifetimes,
    origin: { ...originOf(request), clientId: client.client_id },
    assertAwaited: () => { request.deadline.throwIfAborted() }
  })
  return issueSessionTokens(app, options, {
    client, session, nonce, parameters: { ...resource !== undefined && { resource } }
  })
}
