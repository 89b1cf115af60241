// A command-line program whose user signs in with Latchkey, in the browser (RFC 8252). It lists the orders of
// the user at a service that accepts its tokens.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import * as oidc from 'openid-client'

const {
  ISSUER_URL = 'http://localhost:3000',
  CLIENT_ID: clientId = '',
  ORDERS_URL: ordersUrl = 'http://localhost:8080'
} = process.env

const issuer = new URL(ISSUER_URL)
// A program on the user's device cannot keep a secret, so it has none. PKCE protects its codes.
const config = await oidc.discovery(issuer, clientId, undefined, oidc.None(), {
  execute: issuer.protocol === 'http:' ? [oidc.allowInsecureRequests] : []
})

// The operating system chooses a free port. Latchkey allows any port in http://127.0.0.1/callback.
const listener = createServer().listen(0, '127.0.0.1')
await once(listener, 'listening')
const { port } = listener.address() as AddressInfo
const redirectUri = `http://127.0.0.1:${port}/callback`

const verifier = oidc.randomPKCECodeVerifier()
const state = oidc.randomState()
const nonce = oidc.randomNonce()
const url = oidc.buildAuthorizationUrl(config, {
  redirect_uri: redirectUri,
  scope: 'openid',
  resource: ordersUrl,
  state,
  nonce,
  code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256'
})
console.log(`Open this address in your browser to sign in:\n\n${url.href}\n`)

/** Waits until the browser comes back from this sign-in. Every page can send a request to the port. */
async function waitForCallback (): Promise<URL> {
  for (;;) {
    const [request, response] = await once(listener, 'request') as [IncomingMessage, ServerResponse]
    const url = new URL(request.url ?? '/', redirectUri)
    const isCallback = url.pathname === '/callback' && url.searchParams.get('state') === state
    response.writeHead(isCallback ? 200 : 404, { 'content-type': 'text/plain', connection: 'close' })
      .end(isCallback ? 'You can close this window, and go back to the program.' : 'Not found')
    if (isCallback) return url
  }
}

const callback = await waitForCallback()
listener.close()
const tokens = await oidc.authorizationCodeGrant(config, callback, {
  pkceCodeVerifier: verifier,
  expectedState: state,
  expectedNonce: nonce,
  idTokenExpected: true
})
console.log(`Signed in as user ${tokens.claims()?.sub}`)

const response = await fetch(`${ordersUrl}/orders`, {
  headers: { authorization: `Bearer ${tokens.access_token}` }
})
console.log(`Orders: ${response.status} ${await response.text()}`)
