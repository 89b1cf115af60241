import { Type } from '@sinclair/typebox'

// RFC 6749 section 3.2: what is not known is ignored, and nothing may come twice; a list is no string.

/** For `client_secret_post`; the other way is the `Authorization` header. */
export const clientCredentials = {
  client_id: Type.Optional(Type.String({ maxLength: 256 })),
  client_secret: Type.Optional(Type.String({ maxLength: 256 }))
}

/** A token of any kind. */
export const tokenParameters = {
  token: Type.String({ minLength: 1, maxLength: 8192 }),
  token_type_hint: Type.Optional(Type.String({ maxLength: 64, description: 'Not needed: tokens are told apart by their form.' })),
  ...clientCredentials
}

/** How a client proves itself, for the API document. */
export const clientSecurity = [{ clientBasic: [] }, { clientPost: [] }]

/** What holds for every route that speaks OAuth. */
export const inOAuth = { errors: 'oauth', limit: 'client' } as const
