// What the application does with Latchkey, by means of openid-client and jose.
import { createRemoteJWKSet, jwtVerify, type JWTPayload } from 'jose'
import * as oidc from 'openid-client'
import type { Session } from './sessions.ts'

const {
  ISSUER_URL = 'http://localhost:3000',
  CLIENT_ID: clientId = '',
  CLIENT_SECRET: clientSecret = '',
  PORT = '8080',
  APP_URL = `http://localhost:${PORT}`
} = process.env

export const appUrl = new URL(APP_URL)
const issuer = new URL(ISSUER_URL)
const config = await oidc.discovery(issuer, clientId, clientSecret, undefined, {
  // Over plain http only in development.
  execute: issuer.protocol === 'http:' ? [oidc.allowInsecureRequests] : []
})
const keys = createRemoteJWKSet(new URL(config.serverMetadata().jwks_uri ?? ''))

/** What the browser must still know when it comes back from the sign-in. */
export interface LoginAttempt { state: string, nonce: string, verifier: string }

export async function startSignIn (): Promise<{ url: URL, attempt: LoginAttempt }> {
  const verifier = oidc.randomPKCECodeVerifier()
  const attempt = { state: oidc.randomState(), nonce: oidc.randomNonce(), verifier }
  const url = oidc.buildAuthorizationUrl(config, {
    redirect_uri: new URL('/callback', appUrl).href,
    scope: 'openid profile email',
    state: attempt.state,
    nonce: attempt.nonce,
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256'
  })
  return { url, attempt }
}

const tokensOf = (tokens: oidc.TokenEndpointResponse & oidc.TokenEndpointResponseHelpers) => ({
  accessToken: tokens.access_token,
  refreshToken: tokens.refresh_token ?? '',
  idToken: tokens.id_token ?? '',
  expiresAt: Date.now() + (tokens.expiresIn() ?? 0) * 1_000
})

/** Exchanges the code for tokens. Throws if the answer does not belong to the attempt. */
export async function completeSignIn (url: URL, attempt: LoginAttempt): Promise<Omit<Session, 'id'>> {
  const tokens = await oidc.authorizationCodeGrant(config, url, {
    pkceCodeVerifier: attempt.verifier,
    expectedState: attempt.state,
    expectedNonce: attempt.nonce,
    idTokenExpected: true
  })
  const claims = tokens.claims()
  return { ...tokensOf(tokens), sub: claims?.sub ?? '', sid: String(claims?.['sid']) }
}

const refreshes = new WeakMap<Session, Promise<void>>()

/** Refreshes the tokens of a session. Requests that come at the same time share one refresh. */
function refresh (session: Session): Promise<void> {
  const running = refreshes.get(session) ?? oidc.refreshTokenGrant(config, session.refreshToken)
    .then(tokens => { Object.assign(session, tokensOf(tokens)) })
    .finally(() => refreshes.delete(session))
  refreshes.set(session, running)
  return running
}

/** Reads who the user is. Refreshes the access token a minute before it expires. */
export async function readUser (session: Session): Promise<oidc.UserInfoResponse> {
  if (session.expiresAt <= Date.now() + 60_000) await refresh(session)
  return await oidc.fetchUserInfo(config, session.accessToken, session.sub)
}

/** Whether a failure says that the session has ended at Latchkey. Any other failure is temporary. */
export const isSessionEnd = (error: unknown): boolean =>
  (error instanceof oidc.ResponseBodyError && error.error === 'invalid_grant') ||
  (error instanceof oidc.WWWAuthenticateChallengeError && error.status === 401)

/** Where the browser signs out of Latchkey, and with it of every application. */
export const signOutUrl = ({ idToken }: Session): URL => oidc.buildEndSessionUrl(config, {
  id_token_hint: idToken,
  post_logout_redirect_uri: appUrl.href
})

/** Verifies a logout token (OpenID Connect Back-Channel Logout 1.0 section 2.6). Throws if it is invalid. */
export async function verifyLogoutToken (token: string): Promise<JWTPayload> {
  const { payload } = await jwtVerify(token, keys, {
    issuer: config.serverMetadata().issuer,
    audience: clientId,
    algorithms: ['RS256'],
    typ: 'logout+jwt',
    requiredClaims: ['iat', 'exp', 'jti', 'events']
  })
  const { events, nonce, sid, sub } = payload
  const isLogout = 'http://schemas.openid.net/event/backchannel-logout' in Object(events)
  if (!isLogout || nonce !== undefined || (sid ?? sub) === undefined) throw new Error('not a logout token')
  return payload
}
