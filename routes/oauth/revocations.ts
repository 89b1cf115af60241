import { Readable } from 'node:stream'
import { Type } from '@sinclair/typebox'
import * as clients from '../../src/clients/service-clients.ts'
import { insufficientScope } from '../../src/http/oauth-error.ts'
import { overloaded, shuttingDown } from '../../src/http/problem.ts'
import { follow } from '../../src/tokens/revocation-feed.ts'
import type { Typed } from '../typed.ts'
import { inOAuth } from './parameters.ts'

// Connections at a time, of all clients and of one.
const [most, mostOfOne] = [1_000, 100]
// Milliseconds: so often a client is asked for again, and so long a reader has to take its end.
const [checkEvery, patience] = [60_000, 1_000]

const scope = 'revocations'

interface Reader { clientId: string, stop: () => void }

/** The feed by which verifiers elsewhere hear of what has ended. */
const revocations: Typed = async (app) => {
  const readers = new Set<Reader>()
  let isClosing = false
  // An endless response would keep the server from closing. A client reconnects with `Last-Event-ID`.
  app.addHook('preClose', async () => {
    isClosing = true
    for (const reader of readers) reader.stop()
  })
  const stopUnauthorized = async () => {
    for (const clientId of new Set([...readers].map(reader => reader.clientId))) {
      const mayRead = await clients.find(app.db, clientId).then(client => client?.scopes.includes(scope), () => true)
      if (!mayRead) for (const reader of readers) if (reader.clientId === clientId) reader.stop()
    }
  }
  const check = setInterval(() => { void stopUnauthorized() }, checkEvery)
  check.unref()
  app.addHook('onClose', async () => { clearInterval(check) })

  app.get('/revocations', {
    schema: {
      operationId: 'followRevocations',
      tags: ['Services'],
      summary: 'Follow what ends',
      description: 'Server-sent events: `session.ended`, with `{ "sid", "sub", "reason", "ended_at", "expires_at" }`, for each session that ends while access tokens of it can be alive (until `expires_at`), `token.revoked`, with `jti` in place of `sid`, for a client\'s own token, and `user.tokens_revoked`, with `token_version` in place of `sid`, where all access tokens of a user are revoked while the sessions live on, as when a role is taken from the user: those of this `sub` are, whose claim `token_version` is lower, or which have none. First comes what happened after `Last-Event-ID`, or else all that still matters, then the comment `synced`, then what is new, and a heartbeat every 5 seconds. An event may come twice. The client needs the scope `revocations`.',
      security: [{ clientBasic: [] }, { bearer: [] }],
      headers: Type.Object({ 'last-event-id': Type.Optional(Type.String({ description: 'The id of the last event that arrived.' })) }),
      response: {
        200: { description: 'Events, until the connection ends.', content: { 'text/event-stream': { schema: Type.Unsafe<string | Readable>({ type: 'string', examples: ['id: 2kf.mdr3x1\nevent: session.ended\ndata: {"sid":"0199e8f2-6c1b-7000-8000-0a1b2c3d4e5f","sub":"0199e8f2-6c1a-7b3e-9d5f-0a1b2c3d4e5f","reason":"logout","ended_at":"2026-11-22T09:00:00.000Z","expires_at":"2026-11-22T09:15:00.000Z"}\n\n'] }) } } }
      }
    },
    config: { ...inOAuth, endless: true, oauthErrors: ['invalid_client', 'invalid_token', 'insufficient_scope'] }
  }, async (request, reply) => {
    const caller = await app.authenticateCaller(request)
    if (caller.kind !== 'client' || !caller.scopes.includes(scope)) throw insufficientScope(scope)
    const { clientId } = caller
    if (readers.size >= most || [...readers].filter(reader => reader.clientId === clientId).length >= mostOfOne) throw overloaded(5, 'too many readers of the feed')
    app.revocations.assertKnown()
    if (isClosing) throw shuttingDown()
    reply.type('text/event-stream; charset=utf-8').header('x-accel-buffering', 'no')
    if (request.method === 'HEAD') return reply.send('')

    const stream = follow(app.revocations.follow, request.headers['last-event-id'], () => {
      if (!body.destroyed) request.log.warn('feed client stalled; disconnecting it')
      body.destroy()
    })
    const body = Readable.from(stream.events, { objectMode: false, highWaterMark: 64 * 1024 })
    const reader = {
      clientId,
      stop: () => {
        stream.stop()
        setTimeout(() => body.destroy(), patience).unref()
      }
    }
    readers.add(reader)
    body.once('close', () => {
      stream.stop()
      readers.delete(reader)
    })
    return reply.send(body)
  })
}

export default revocations
