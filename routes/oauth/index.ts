import type { Typed } from '../typed.ts'
import type { GrantOptions } from './grants/grant.ts'
import introspect, { type IntrospectionOptions } from './introspect.ts'
import revocations from './revocations.ts'
import revoke from './revoke.ts'
import token from './token.ts'
import userInfo, { type UserInfoOptions } from './userinfo.ts'

export type OAuthOptions =
  GrantOptions & Omit<IntrospectionOptions, 'refreshTokenSeconds' | 'retryWindowSeconds'> & UserInfoOptions

/** The OAuth endpoints that services and applications call. Those that a browser visits are pages. */
const oauth: Typed<OAuthOptions> = async (app, options) => {
  const { issuer, audience, roles, lifetimes, links } = options
  const { refreshTokenSeconds, retryWindowSeconds } = lifetimes
  await app.register(token, { issuer, audience, lifetimes, links })
  await app.register(introspect, { issuer, roles, refreshTokenSeconds, retryWindowSeconds })
  await app.register(revoke)
  await app.register(revocations)
  await app.register(userInfo, { issuer, audience })
}

export default oauth
