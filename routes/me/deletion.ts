import { Readable } from 'node:stream'
import { Type, type Static } from '@sinclair/typebox'
import { invalidToken } from '../../src/http/problem.ts'
import * as sessions from '../../src/sessions/owner.ts'
import { collect } from '../../src/accounts/data-export.ts'
import { leave } from '../../src/accounts/deletion.ts'
import { noBody, originOf, queueTicket, strict, type Typed } from '../typed.ts'
import { PersonalData } from './data-export.ts'

// Milliseconds that a reader may take for what is a page at the most.
const patience = 30_000

async function * whileTaken (pieces: AsyncIterable<string>, onStall: () => void) {
  for await (const piece of pieces) {
    const timer = setTimeout(onStall, patience).unref()
    try {
      yield piece
    } finally {
      clearTimeout(timer)
    }
  }
}

/** To take one's data along, and to go. */
const leaving: Typed = async (app) => {
  const security = [{ bearer: [] }]

  app.delete('', {
    schema: {
      operationId: 'deleteMe',
      tags: ['Account'],
      summary: 'Delete the own account',
      description: 'Takes the password too; of an account that has none, a sign-in of the last five minutes in its place. Every session ends, and every trace goes but the events of the audit log, which keep the ids alone. The address can be registered anew. The last administrator cannot leave.',
      security,
      body: strict({ password: Type.Optional(Type.String({ minLength: 1, maxLength: 1024 })) }, { examples: [{ password: 'a long phrase of your own' }] }),
      response: { 204: { type: 'null', description: 'The account is gone.' } }
    },
    preValidation: noBody,
    config: { limit: 'password', optionalBody: true, problems: ['invalid_token', 'forbidden', { code: 'invalid_credentials', status: 403 }, 'last_admin', 'overloaded', 'database_unavailable'] }
  }, async (request, reply) => {
    const { sid, sub } = request.bearer
    const holder = await sessions.findAccount(app.db, sid)
    if (!holder) throw invalidToken(true, 'the session has ended')
    const claim = { of: holder, password: request.body.password, device: request.device, ticket: queueTicket(request) }
    app.revocations.add(await leave(app.db, app, claim, app.mailer.sealMail, originOf(request)))
    app.jobs.wake('mail')
    return await reply.clearRefreshCookie().clearRegistrationCookie().forgetOnDevice(sub).code(204).send()
  })

  app.get('/export', {
    schema: {
      operationId: 'exportMe',
      tags: ['Account'],
      summary: 'Take along what is held about oneself',
      description: 'One JSON document, sent as it is read: where the connection breaks it is not whole, and no JSON. Of events that somebody else is the actor of it does not tell from where they came, and of what the user did to others not to whom. One export of an account runs at a time: a second one is refused with `too_many_requests` until the first has ended.',
      security,
      response: { 200: { description: 'All that is held about the user, but secrets.', content: { 'application/json': { schema: Type.Unsafe<Static<typeof PersonalData> | Readable | string>(PersonalData) } } } }
    },
    config: {
      limit: 'mail',
      endless: true,
      problems: ['invalid_token', 'forbidden', 'too_many_requests', 'database_unavailable']
    }
  }, async (request, reply) => {
    const user = await sessions.findUser(app.db, request.bearer.sid)
    if (!user) throw invalidToken(true, 'the session has ended')
    const headers = {
      'content-type': 'application/json; charset=utf-8',
      'content-disposition': 'attachment; filename="account.json"'
    }
    if (request.method === 'HEAD') return reply.headers(headers).send('')
    const found = await collect(app.db, user.id, originOf(request))
    if (!found) throw invalidToken(true, 'the account is gone')
    const { pieces, release } = found
    const body = Readable.from(whileTaken(pieces, () => { body.destroy() }), { objectMode: false, highWaterMark: 64 * 1024 })
    // The reader may also have gone, or stalled. If the release fails, the lease expires.
    body.once('close', () => {
      release().catch((error: unknown) => request.log.warn({ err: error }, 'export lease not released'))
    })
    return reply.headers(headers).send(body)
  })
}

export default leaving
