import { Type } from '@sinclair/typebox'
import type { LinkLives } from '../../src/accounts/mail-context.ts'
import * as accounts from '../../src/accounts/password-change.ts'
import { invalidToken } from '../../src/http/problem.ts'
import * as sessions from '../../src/sessions/owner.ts'
import { newPassword } from '../schemas.ts'
import { mailContextOf, originOf, queueTicket, strict, type Typed } from '../typed.ts'

export interface AccountOptions {
  /** Seconds that mailed links are good for. */
  links: LinkLives
  /** Whether an address must be proved before its account can be used. */
  requireVerification: boolean
}

const password: Typed<AccountOptions> = async (app, { links }) => {
  app.post('/password', {
    schema: {
      operationId: 'changePassword',
      tags: ['Account'],
      summary: 'Change the own password',
      description: 'Takes the current password too; of an account that has none yet, a sign-in of the last five minutes in its place. Every other session of the user ends, and the devices they signed in on are strangers again, but for this one.',
      security: [{ bearer: [] }],
      body: strict({
        current_password: Type.Optional(Type.String({ minLength: 1, maxLength: 1024 })),
        new_password: newPassword
      }, { examples: [{ current_password: 'a long phrase of your own', new_password: 'another phrase of your own' }] }),
      response: { 204: { type: 'null', description: 'The password is changed.' } }
    },
    config: { limit: 'password', problems: ['invalid_token', 'forbidden', { code: 'invalid_credentials', status: 403 }, 'password_rejected', 'overloaded', 'database_unavailable'] }
  }, async (request, reply) => {
    const { current_password: current, new_password: next } = request.body
    const { sid, sub } = request.bearer
    const named = await sessions.findAccount(app.db, sid)
    if (!named) throw invalidToken(true, 'the session has ended')
    const claim = { of: named, password: current, device: request.device, ticket: queueTicket(request) }
    const { ended, devicesKnownFrom } = await accounts.changePassword(app.db, app, claim, next, sid, mailContextOf(request, links), originOf(request))
    app.jobs.wake('mail')
    app.revocations.add(ended)
    reply.setDeviceCookie(sub, devicesKnownFrom)
    return await reply.code(204).send()
  })
}

export default password
