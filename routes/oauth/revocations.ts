import { Readable } from 'node:stream'
import { Type } from '@sinclair/typebox'
import * as clients from '../../src/clients/clients.ts'
import { insufficientScope } from '../../src/http/oauth-error.ts'
import { overloaded, shuttingDown } from '../../src/http/problems.ts'
import { createRevocationStream } from '../../src/tokens/revocation-feed.ts'
import type { Typed } from '../typed.ts'
import { oauthConfig } from './parameters.ts'

const maxReaders = 1_000
const maxReadersPerClient = 100
const retryAfterSeconds = 5
// How often the scopes of every connected client are checked again.
const scopeCheckIntervalMs = 60_000
// How long a reader can receive the end of its stream before its connection is closed.
const endTimeoutMs = 1_000
const highWaterMarkBytes = 65_536

const requiredScope = 'revocations'

const description = 'A stream of server-sent events. `session.ended` has the data `{ "sid", "sub",' +
  ' "reason", "ended_at", "expires_at" }`: the session has ended, and its access tokens expire at' +
  ' `expires_at` or earlier. `token.revoked` has `jti` instead of `sid`: a client\'s own access token was' +
  ' revoked. `user.tokens_revoked` has `token_version` instead of `sid`: a role was taken from the user' +
  ' `sub`. Reject the access tokens of their sessions whose claim `token_version` is lower or absent. The' +
  ' sessions continue. The stream begins with the events after `Last-Event-ID`, or with all events whose' +
  ' tokens have not expired. The comment `synced` follows, then new events, and a heartbeat every 5' +
  ' seconds. An event may arrive twice, and several can have the same id: the id is a position. The client' +
  ' needs the scope `revocations`.'

const exampleData = JSON.stringify({
  sid: '0199e8f2-6c1b-7000-8000-0a1b2c3d4e5f',
  sub: '0199e8f2-6c1a-7b3e-9d5f-0a1b2c3d4e5f',
  reason: 'logout',
  ended_at: '2026-11-22T09:00:00.000Z',
  expires_at: '2026-11-22T09:15:00.000Z'
})
const exampleEvent = `id: 2kf.mdr3x1\nevent: session.ended\ndata: ${exampleData}\n\n`
const eventStream = Type.Unsafe<string | Readable>({ type: 'string', examples: [exampleEvent] })

interface FeedReader { clientId: string, stop: () => void }

/** The feed that notifies verifiers in other services of revocations. */
const revocations: Typed = async (app) => {
  const readers = new Set<FeedReader>()
  let isClosing = false
  // An endless response would keep the server from closing. A client reconnects with `Last-Event-ID`.
  app.addHook('preClose', async () => {
    isClosing = true
    for (const reader of readers) reader.stop()
  })
  async function disconnectUnauthorized () {
    for (const clientId of new Set([...readers].map(reader => reader.clientId))) {
      // While the database is unavailable, a reader stays connected.
      const mayRead = await clients.find(app.db, clientId)
        .then(client => client?.scopes.includes(requiredScope), () => true)
      if (mayRead) continue
      for (const reader of readers) if (reader.clientId === clientId) reader.stop()
    }
  }
  const scopeCheck = setInterval(() => { void disconnectUnauthorized() }, scopeCheckIntervalMs).unref()
  app.addHook('onClose', async () => { clearInterval(scopeCheck) })

  function assertCapacity (clientId: string) {
    const readersOfClient = [...readers].filter(reader => reader.clientId === clientId)
    if (readers.size >= maxReaders || readersOfClient.length >= maxReadersPerClient) {
      throw overloaded(retryAfterSeconds, 'too many readers of the revocation feed')
    }
  }

  app.get('/revocations', {
    schema: {
      operationId: 'followRevocations',
      tags: ['Services'],
      summary: 'Follow the revocation feed',
      description,
      security: [{ clientBasic: [] }, { bearer: [] }],
      headers: Type.Object({
        'last-event-id': Type.Optional(Type.String({ description: 'The id of the last event that arrived.' }))
      }),
      response: {
        200: {
          description: 'The events, until the connection ends.',
          content: { 'text/event-stream': { schema: eventStream } }
        }
      }
    },
    config: {
      ...oauthConfig,
      isEndless: true,
      oauthErrors: ['invalid_client', 'invalid_token', 'insufficient_scope']
    }
  }, async (request, reply) => {
    const caller = await app.authenticateCaller(request)
    const isAllowed = caller.kind === 'client' && caller.scopes.includes(requiredScope)
    if (!isAllowed) throw insufficientScope(requiredScope)
    const { clientId } = caller
    assertCapacity(clientId)
    app.revocations.assertKnown()
    if (isClosing) throw shuttingDown()
    reply.type('text/event-stream; charset=utf-8').header('x-accel-buffering', 'no')
    if (request.method === 'HEAD') return reply.send('')

    // The end of a client that has gone already would not be noticed below.
    request.deadline.throwIfAborted()
    const stream = createRevocationStream(app.revocations.follow, request.headers['last-event-id'], () => {
      if (!body.destroyed) request.log.warn({ client: clientId }, 'feed client stalled; disconnecting it')
      body.destroy()
    })
    const body = Readable.from(stream.events, { objectMode: false, highWaterMark: highWaterMarkBytes })
    const reader = {
      clientId,
      stop: () => {
        stream.stop()
        setTimeout(() => body.destroy(), endTimeoutMs).unref()
      }
    }
    readers.add(reader)
    // The reader frees its place at once: the iterator is woken, and a body that was never read ends, too.
    request.deadline.addEventListener('abort', () => {
      stream.stop()
      body.destroy()
    })
    body.once('close', () => {
      stream.stop()
      readers.delete(reader)
    })
    return reply.send(body)
  })
}

export default revocations
