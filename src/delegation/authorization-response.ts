import type { AuthorizationErrorCode, AuthorizationRequest } from './authorization-request.ts'

/** What a client is told by a redirect (RFC 6749 sections 4.1.2 and 4.1.2.1). */
export type AuthorizationResponse =
  { code: string } | { error: AuthorizationErrorCode, error_description: string }

/**
 * Returns the redirect URI with the response in its query. `iss` tells the client which service answered (RFC
 * 9207). The URI itself stays as it was registered, byte for byte.
 */
export function responseUrl (
  { redirectUri, state }: Pick<AuthorizationRequest, 'redirectUri' | 'state'>,
  response: AuthorizationResponse, issuer: string
): string {
  const query = new URLSearchParams({ ...response, ...state !== undefined && { state }, iss: issuer })
  return `${redirectUri}${redirectUri.includes('?') ? '&' : '?'}${query.toString()}`
}
