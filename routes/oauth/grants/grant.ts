import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Client } from '../../../src/clients/records.ts'
import type { Lifetimes } from '../../../src/sessions/session.ts'
import type { LinkLives } from '../../../src/mail/mail-context.ts'

/** The parameters of a token request (RFC 6749 section 3.2), without those that authenticate the client. */
export interface TokenParameters {
  scope?: string
  resource?: string | string[]
  audience?: string | string[]
  code?: string
  redirect_uri?: string
  code_verifier?: string
  refresh_token?: string
}

/** A successful token response (RFC 6749 section 5.1, OpenID Connect Core section 3.1.3.3). */
export interface IssuedTokens {
  access_token: string
  token_type: 'Bearer'
  /** Seconds. */
  expires_in: number
  scope: string
  refresh_token?: string
  id_token?: string
}

export interface GrantOptions {
  issuer: string
  /** The audience of a client's own token whose request names no resource. */
  audience: string
  lifetimes: Lifetimes
  links: LinkLives
}

/** A token request of an authenticated client that may use the grant. */
export interface GrantRequest {
  request: FastifyRequest
  reply: FastifyReply
  client: Client
  parameters: TokenParameters
}

/** A grant (RFC 6749 section 1.3): exchanges what a client presents for tokens. Throws an OAuthError. */
export type Grant = (
  app: FastifyInstance, options: GrantOptions, request: GrantRequest
) => Promise<IssuedTokens>

/** The words of a list such as a scope (RFC 6749 section 3.3), each once. */
export const words = (text: string): string[] => [...new Set(text.split(' ').filter(Boolean))]
