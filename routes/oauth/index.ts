import type { Typed } from '../typed.ts'
import introspect, { type IntrospectionOptions } from './introspect.ts'
import revocations from './revocations.ts'
import revoke from './revoke.ts'
import token, { type TokenOptions } from './token.ts'

/** The OAuth endpoints for services: client tokens, introspection, revocation, and the revocation feed. */
const oauth: Typed<TokenOptions & IntrospectionOptions> = async (app, options) => {
  const { issuer, audience, roles, refreshToken, retryWindow } = options
  await app.register(token, { audience })
  await app.register(introspect, { issuer, roles, refreshToken, retryWindow })
  await app.register(revoke)
  await app.register(revocations)
}

export default oauth
