import assert from 'node:assert'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyPluginOptions, FastifyRequest } from 'fastify'
import { Type, type Static, type TSchema } from '@sinclair/typebox'
import type { Origin } from '../src/audit/events.ts'
import type { RequestContext } from '../src/authentication/request-context.ts'
import { addressOf, networkOf } from '../src/http/client-network.ts'
import { languageOf } from '../src/http/language.ts'
import type { ProblemCode } from '../src/http/problem.ts'
import type { LinkLives, MailContext } from '../src/mail/mail-context.ts'
import type { QueueTicket } from '../src/passwords/passwords.ts'
import type { ReplacedSessions } from '../src/sessions/creation.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The problems of this route, for the API document, except those that every such route can have. */
    problems?: ReadonlyArray<ProblemCode | { code: ProblemCode, status: number }>
  }
}

/** A Fastify plugin whose handlers are typed by their TypeBox schemas. */
export type Typed<Options extends FastifyPluginOptions = Record<never, never>> =
  FastifyPluginAsyncTypebox<Options>

/** A reference to a shared schema, with the type of that schema. */
export const ref = <Schema extends TSchema & { $id?: string }>(schema: Schema) =>
  Type.Unsafe<Static<Schema>>(Type.Ref(schema.$id ?? ''))

/** Text without control characters or lone surrogates. */
export const text = (minLength: number, maxLength: number, options: object = {}) =>
  Type.String({ minLength, maxLength, pattern: '^[^\\p{Cc}\\p{Cs}]*$', ...options })

/** An object that has these properties and no others. */
export const strict = <Properties extends Record<string, TSchema>>(
  properties: Properties, options: object = {}
) => Type.Object(properties, { additionalProperties: false, ...options })

/** Treats a missing body as an empty object. */
export const allowMissingBody = async (request: FastifyRequest) => {
  if (request.body === undefined) request.body = {}
}

/** Returns the claims of the user who sent the request, on a route that `requireUser` protects. */
export function userOf ({ bearer }: FastifyRequest): NonNullable<FastifyRequest['bearer']> {
  assert(bearer, 'the route has no requireUser')
  return bearer
}

/** Returns where a request comes from and who sent it, for the audit log. */
export const originOf = ({ id, ip, headers, bearer }: FastifyRequest): Origin => ({
  requestId: id,
  ip: addressOf(ip),
  userAgent: headers['user-agent']?.replaceAll('\0', '').slice(0, 512),
  ...bearer?.sid === undefined ? { clientId: bearer?.client_id } : { actorId: bearer.sub }
})

/** Returns the ticket with which a request waits in the hashing queue. */
export const queueTicketOf = ({ deadline, ip, socket }: FastifyRequest): QueueTicket =>
  ({ signal: deadline, network: networkOf(ip) ?? networkOf(socket.remoteAddress) })

/** Returns what the mails of a request are rendered and limited with. */
export function mailContextOf (request: FastifyRequest, lives: LinkLives): MailContext {
  const { server, headers, ip, socket } = request
  const { sealMail, limits, countDropped: onDrop } = server.mailer
  const network = networkOf(ip) ?? networkOf(socket.remoteAddress) ?? ''
  return {
    sealMail,
    lives,
    language: languageOf(headers['accept-language']),
    origin: originOf(request),
    limit: {
      bucketsOf: (kind, canonical, linkSeconds) =>
        limits.requestBuckets(kind, canonical, network, linkSeconds),
      onDrop
    }
  }
}

/** Returns the context of a request for the domain functions. */
export const contextOf = (request: FastifyRequest, lives: LinkLives): RequestContext =>
  ({ origin: originOf(request), mail: mailContextOf(request, lives), ticket: queueTicketOf(request) })

/**
 * Finds the sessions that a sign-in replaces (ASVS 7.2.4): those of the authentic refresh cookies of its
 * request. With cookie delivery, the new cookie overwrites the old ones. Their sessions then end even if they
 * belong to another user, who could not sign out of them any more. Cookies from a page of another site are
 * ignored.
 */
export async function findReplacedSessions (
  request: FastifyRequest, delivery: 'cookie' | 'body' = 'cookie'
): Promise<ReplacedSessions> {
  const { keyring } = request.server
  const ids: string[] = []
  for (const token of request.isSameOrigin() ? request.refreshCookies() : []) {
    const authentic = await keyring.readRefreshToken(token)
    if (authentic) ids.push(authentic.sessionId)
  }
  return { ids, includesOthers: delivery === 'cookie' }
}
