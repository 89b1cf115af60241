import { Type } from '@sinclair/typebox'
import { requestChange } from '../../src/accounts/email-change.ts'
import { invalidToken } from '../../src/http/problem.ts'
import { reauthenticate } from '../../src/authentication/reauthentication.ts'
import { recordSuccess } from '../../src/throttle/sign-in-throttle.ts'
import * as sessions from '../../src/sessions/owner.ts'
import * as users from '../../src/users/users.ts'
import { accepted, email } from '../schemas.ts'
import { mailContextOf, originOf, queueTicket, strict, type Typed } from '../typed.ts'
import type { AccountOptions } from './password.ts'

const emailRoute: Typed<AccountOptions> = async (app, { links, requireVerification }) => {
  app.post('/email', {
    schema: {
      operationId: 'changeEmail',
      tags: ['Account'],
      summary: 'Change the own e-mail address',
      description: 'Mails a link to the new address. It becomes that of the account when the link is used with the password or a session of the account. A new request voids the earlier one. The old address is told when the change is requested, and again when it is done, with a link to undo it if that address was verified. While 20 changes can still be undone, a further one is refused (429). Takes the password too; an account without one needs a sign-in of the last five minutes instead.',
      security: [{ bearer: [] }],
      body: strict({ password: Type.Optional(Type.String({ minLength: 1, maxLength: 1024 })), email }, { examples: [{ password: 'a long phrase of your own', email: 'ada@example.org' }] }),
      response: { 202: accepted }
    },
    config: { limit: 'password', problems: ['invalid_token', 'forbidden', { code: 'invalid_credentials', status: 403 }, 'email_taken', 'overloaded', 'database_unavailable'] }
  }, async (request, reply) => {
    const { password, email } = request.body
    const address = users.requireEmail(email)
    const named = await sessions.findAccount(app.db, request.bearer.sid)
    if (!named) throw invalidToken(true, 'the session has ended')
    const proof = await reauthenticate(app.db, app, { of: named, password, device: request.device, ticket: queueTicket(request) }, '/password', originOf(request))
    await recordSuccess(app.db, proof.attempt)
    await requestChange(app.db, proof, address, mailContextOf(request, links), requireVerification)
    app.jobs.wake('mail')
    return reply.code(202).send({ status: 'accepted' })
  })
}

export default emailRoute
