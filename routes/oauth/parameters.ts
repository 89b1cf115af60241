import { Type } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'

// RFC 6749 section 3.2: unknown parameters are ignored, and no parameter may be sent twice. A parameter that
// is sent twice arrives as a list, which is not a string.

/** Removes parameters without a value: they count as absent (RFC 6749 section 3.1). */
export const dropEmptyParameters = async ({ body }: FastifyRequest) => {
  const parameters: Record<string, unknown> = Object(body)
  for (const [name, value] of Object.entries(parameters)) if (value === '') delete parameters[name]
}

/** The parameters of `client_secret_post`. The alternative is the `Authorization` header. */
export const clientCredentials = {
  client_id: Type.Optional(Type.String({ maxLength: 256 })),
  client_secret: Type.Optional(Type.String({ maxLength: 256 }))
}

/** The parameters of a request about a token of any kind. */
export const tokenParameters = {
  token: Type.String({ minLength: 1, maxLength: 8192 }),
  token_type_hint: Type.Optional(Type.String({
    maxLength: 64, description: 'Not needed: Latchkey recognizes the kind of a token by its form.'
  })),
  ...clientCredentials
}

/** How a client authenticates, for the API document. */
export const clientSecurity = [{ clientBasic: [] }, { clientPost: [] }]

/** The configuration of every OAuth route. */
export const oauthConfig = { errors: 'oauth', limit: 'client' } as const

export const exampleAccessToken =
  'eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJpc3MiOiJodHRwczovL2F1dGguZXhhbXBsZS5jb20ifQ.c2lnbmF0dXJl'
