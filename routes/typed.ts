import assert from 'node:assert'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyPluginOptions, FastifyRequest } from 'fastify'
import { Type, type Static, type TSchema } from '@sinclair/typebox'
import type { LinkLives, MailContext } from '../src/mail/mail-context.ts'
import type { Origin } from '../src/audit/events.ts'
import type { RequestContext } from '../src/authentication/request-context.ts'
import { languageOf } from '../src/http/language.ts'
import { addressOf, networkOf } from '../src/http/client-network.ts'
import type { QueueTicket } from '../src/passwords/passwords.ts'
import type { ProblemCode } from '../src/http/problem.ts'
import type { ReplacedSessions } from '../src/sessions/creation.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The failures of this route beyond those that any route of its shape can have; for the API document. */
    problems?: ReadonlyArray<ProblemCode | { code: ProblemCode, status: number }>
  }
}

/** A Fastify plugin whose handlers are typed by their TypeBox schemas. */
export type Typed<Options extends FastifyPluginOptions = Record<never, never>> = FastifyPluginAsyncTypebox<Options>

/** A reference to a shared schema, typed as what it refers to. */
export const ref = <Schema extends TSchema & { $id?: string }>(schema: Schema) => Type.Unsafe<Static<Schema>>(Type.Ref(schema.$id ?? ''))

/** Text without control characters or halves of surrogate pairs. */
export const text = (minLength: number, maxLength: number, options: object = {}) =>
  Type.String({ minLength, maxLength, pattern: '^[^\\p{Cc}\\p{Cs}]*$', ...options })

/** An object that has these properties and no others. */
export const strict = <Properties extends Record<string, TSchema>>(properties: Properties, options: object = {}) =>
  Type.Object(properties, { additionalProperties: false, ...options })

/** For routes whose body may be left out: none is as good as an empty one. */
export const noBody = async (request: FastifyRequest) => { if (request.body === undefined) request.body = {} }

/** The claims of the user who sent the request, on a route that `requireUser` protects. */
export function userOf ({ bearer }: FastifyRequest): NonNullable<FastifyRequest['bearer']> {
  assert(bearer, 'the route has no requireUser')
  return bearer
}

/** Where a request comes from, and who made it, for the audit log. */
export const originOf = ({ id, ip, headers, bearer }: FastifyRequest): Origin => ({
  requestId: id,
  ip: addressOf(ip),
  userAgent: headers['user-agent']?.replaceAll('\0', '').slice(0, 512),
  ...bearer?.sid === undefined ? { clientId: bearer?.client_id } : { actorId: bearer.sub }
})

/** Whose turn in the hashing lane a request waits for. */
export const queueTicket = ({ deadline, ip, socket }: FastifyRequest): QueueTicket => ({ signal: deadline, network: networkOf(ip) ?? networkOf(socket.remoteAddress) })

/** What the mails of a request are made with. */
export function mailContextOf ({ server, headers, ip, socket }: FastifyRequest, lives: LinkLives): MailContext {
  const { sealMail, limits, countDropped: onDrop } = server.mailer
  const network = networkOf(ip) ?? networkOf(socket.remoteAddress) ?? ''
  return {
    sealMail,
    lives,
    language: languageOf(headers['accept-language']),
    limit: {
      bucketsOf: (kind, canonical, linkSeconds) => limits.requestBuckets(kind, canonical, network, linkSeconds),
      onDrop
    }
  }
}

/** What a request brings along for the domain functions. */
export const contextOf = (request: FastifyRequest, lives: LinkLives): RequestContext =>
  ({ origin: originOf(request), mail: mailContextOf(request, lives), ticket: queueTicket(request) })

/**
 * The sessions that a sign-in replaces (ASVS 7.2.4): those of the authentic refresh cookies of its request.
 * In cookie delivery the new cookie overwrites theirs, so they end even if they are another user's, because
 * nobody could sign out of them. A cookie that a page of another site sends is ignored.
 */
export async function replacedSessions (
  request: FastifyRequest, delivery: 'cookie' | 'body' = 'cookie'
): Promise<ReplacedSessions> {
  const { keyring } = request.server
  const ids: string[] = []
  for (const token of request.isSameOrigin() ? request.refreshCookies() : []) {
    const authentic = await keyring.readRefreshToken(token)
    if (authentic) ids.push(authentic.sessionId)
  }
  return { ids, evenOfOthers: delivery === 'cookie' }
}
