import { Type } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'
import { userInfoUrl } from '../../src/delegation/endpoints.ts'
import { toUserInfo } from '../../src/delegation/user-info.ts'
import { insufficientScope, invalidBearerRequest } from '../../src/http/oauth-error.ts'
import { invalidToken } from '../../src/http/problems.ts'
import { findUser } from '../../src/sessions/owner.ts'
import { allowMissingBody, strict, type Typed } from '../typed.ts'
import { exampleAccessToken, oauthConfig } from './parameters.ts'

export interface UserInfoOptions {
  issuer: string
  /** The audience of the tokens of first-party clients. */
  audience: string
}

const userInfo = strict({
  sub: Type.String({ description: 'The id of the user.' }),
  name: Type.Optional(Type.String({ description: 'With the scope `profile`, if the user has a name.' })),
  preferred_username: Type.Optional(Type.String({
    description: 'With the scope `profile`, if the user has a username.'
  })),
  updated_at: Type.Optional(Type.Integer({
    description: 'With the scope `profile`: when the account was last changed, in seconds since the epoch.'
  })),
  email: Type.Optional(Type.String({ description: 'With the scope `email`.' })),
  email_verified: Type.Optional(Type.Boolean({ description: 'With the scope `email`.' }))
}, {
  description: 'The claims of the user that the scopes of the token allow.',
  examples: [{
    sub: '0199e8f2-6c1a-7b3e-9d5f-0a1b2c3d4e5f',
    name: 'Ada Lovelace',
    updated_at: 1795338000,
    email: 'ada@example.com',
    email_verified: true
  }]
})

const schema = {
  tags: ['Delegated login'],
  summary: 'Read the claims of a user',
  description: 'The userinfo endpoint (OpenID Connect Core section 5.3). It takes an access token that a' +
    ' client got with the scope `openid`. The response has the claims of the other scopes of the token.',
  response: { 200: userInfo }
}
const config = {
  ...oauthConfig,
  isForClientOrigins: true,
  oauthErrors: ['invalid_token', 'insufficient_scope'] as const
}

/** The userinfo endpoint. */
const userInfoRoutes: Typed<UserInfoOptions> = async (app, { issuer, audience }) => {
  const audiences = [userInfoUrl(issuer), audience]

  async function answer (request: FastifyRequest, bodyToken: string | undefined) {
    const claims = await app.verifyAccessToken(request, tokenOf(request, bodyToken))
    if (claims.sid === undefined || ![claims.aud].flat().some(each => audiences.includes(each))) {
      throw invalidToken(true, 'the token is for another audience')
    }
    const scopes = claims.scope.split(' ')
    if (!scopes.includes('openid')) throw insufficientScope('openid')
    const user = await findUser(app.db, claims.sid)
    if (!user) throw invalidToken(true, 'the session has ended')
    return toUserInfo(user, scopes)
  }

  app.get('/userinfo', {
    schema: { ...schema, operationId: 'getUserInfo', security: [{ bearer: [] }] },
    config
  }, async request => await answer(request, undefined))

  app.post('/userinfo', {
    schema: {
      ...schema,
      operationId: 'postUserInfo',
      security: [{ bearer: [] }, {}],
      consumes: ['application/x-www-form-urlencoded'],
      body: Type.Optional(Type.Object({
        access_token: Type.Optional(Type.String({
          maxLength: 8192, description: 'The access token, if it is not in the header (RFC 6750 section 2.2).'
        }))
      }, { examples: [{ access_token: exampleAccessToken }] }))
    },
    preValidation: allowMissingBody,
    config: { ...config, isBodyOptional: true }
  }, async request => await answer(request, Object(request.body).access_token))
}

function tokenOf ({ headers: { authorization } }: FastifyRequest, bodyToken: string | undefined): string {
  if (authorization === undefined) {
    if (bodyToken === undefined) throw invalidToken(false)
    return bodyToken
  }
  if (bodyToken !== undefined) throw invalidBearerRequest('The access token was sent in two ways.')
  const [, token] = /^Bearer +(\S+) *$/i.exec(authorization) ?? []
  if (token === undefined) throw invalidToken(false)
  return token
}

export default userInfoRoutes
