// Signs users in with Latchkey. The tokens are kept in memory: after a reload, the user signs in again, which
// needs no password as long as they are signed in at Latchkey.
/* global location, history */
import * as oauth from 'oauth4webapi'
import { clientId, issuer } from './config.js'

const client = { client_id: clientId }
const redirectUri = new URL('./', location.href).href
// Over plain http only in development.
const options = { [oauth.allowInsecureRequests]: issuer.startsWith('http:') }
const discovery = await oauth.discoveryRequest(new URL(issuer), options)
const server = await oauth.processDiscoveryResponse(new URL(issuer), discovery)

let tokens

/** Sends the browser to Latchkey. It comes back to this page. */
export async function signIn () {
  const attempt = {
    verifier: oauth.generateRandomCodeVerifier(),
    state: oauth.generateRandomState(),
    nonce: oauth.generateRandomNonce()
  }
  sessionStorage.setItem('sign-in', JSON.stringify(attempt))
  const url = new URL(server.authorization_endpoint)
  url.search = new URLSearchParams({
    client_id: clientId,
    redirect_uri: redirectUri,
    response_type: 'code',
    scope: 'openid profile email',
    state: attempt.state,
    nonce: attempt.nonce,
    code_challenge: await oauth.calculatePKCECodeChallenge(attempt.verifier),
    code_challenge_method: 'S256'
  })
  location.assign(url)
}

/** Completes the sign-in from which the browser comes back. Returns the user; undefined if there was none. */
export async function completeSignIn () {
  const parameters = new URLSearchParams(location.search)
  const saved = sessionStorage.getItem('sign-in')
  if (!parameters.has('state') || saved === null) return undefined
  sessionStorage.removeItem('sign-in')
  history.replaceState(null, '', redirectUri)
  const { verifier, state, nonce } = JSON.parse(saved)
  const response = await oauth.authorizationCodeGrantRequest(server, client, oauth.None(),
    oauth.validateAuthResponse(server, client, parameters, state), redirectUri, verifier, options)
  tokens = await oauth.processAuthorizationCodeResponse(server, client, response,
    { expectedNonce: nonce, requireIdToken: true })
  const { sub } = oauth.getValidatedIdTokenClaims(tokens)
  const userInfo = await oauth.userInfoRequest(server, client, tokens.access_token, options)
  return await oauth.processUserInfoResponse(server, client, sub, userInfo)
}

/** As fetch, with the access token. If the session has ended, or the token has expired, signs in again. */
export async function fetchWithToken (url, init = {}) {
  const headers = { ...init.headers, authorization: `Bearer ${tokens.access_token}` }
  const response = await fetch(url, { ...init, headers })
  if (response.status === 401) await signIn()
  return response
}

/** Signs out of Latchkey, and with it of every application. */
export function signOut () {
  const url = new URL(server.end_session_endpoint)
  url.search = new URLSearchParams({
    id_token_hint: tokens.id_token, post_logout_redirect_uri: redirectUri
  })
  location.assign(url)
}
