import type { Typed } from '../typed.ts'
import introspect, { type IntrospectionOptions } from './introspect.ts'
import revocations from './revocations.ts'
import revoke from './revoke.ts'
import token, { type TokenOptions } from './token.ts'

/** For services: tokens of their own, and what has become of others'. */
const oauth: Typed<TokenOptions & IntrospectionOptions> = async (app, { issuer, audience, roles, refreshToken, retryWindow }) => {
  await app.register(token, { audience })
  await app.register(introspect, { issuer, roles, refreshToken, retryWindow })
  await app.register(revoke)
  await app.register(revocations)
}

export default oauth
