import { Type } from '@sinclair/typebox'
import { requestEmailChange } from '../../src/accounts/email-change.ts'
import { reauthenticate } from '../../src/authentication/reauthentication.ts'
import { invalidToken } from '../../src/http/problems.ts'
import * as sessions from '../../src/sessions/owner.ts'
import { recordSuccess } from '../../src/throttle/sign-in-throttle.ts'
import * as users from '../../src/users/users.ts'
import { accepted, currentPassword, email } from '../schemas.ts'
import { contextOf, strict, userOf, type Typed } from '../typed.ts'
import type { AccountOptions } from './password.ts'

const description = [
  'Mails a link to the new address. It becomes that of the account when the link is used with the password or a session',
  'of the account. A new request voids the earlier one. The old address is told when the change is requested, and again',
  'when it is done, with a link to undo it if that address was verified. While 20 changes can still be undone, a further',
  'one is refused (429). The request needs the password too. For an account without one, a sign-in within the last five',
  'minutes takes its place.'
].join(' ')

const emailRoute: Typed<AccountOptions> = async (app, { links, requireVerification }) => {
  app.post('/email', {
    schema: {
      operationId: 'changeEmail',
      tags: ['Account'],
      summary: 'Change your e-mail address',
      description,
      security: [{ bearer: [] }],
      body: strict({ password: Type.Optional(currentPassword), email }, {
        examples: [{ password: 'a phrase of my own', email: 'ada@example.org' }]
      }),
      response: { 202: accepted }
    },
    config: {
      limit: 'password',
      problems: [
        'invalid_token', 'forbidden', { code: 'invalid_credentials', status: 403 }, 'email_taken', 'overloaded',
        'database_unavailable'
      ]
    }
  }, async (request, reply) => {
    const { password, email } = request.body
    const to = users.requireEmail(email)
    const of = await sessions.findAccount(app.db, userOf(request).sid)
    if (!of) throw invalidToken(true, 'the session has ended')
    const { mail, origin, ticket } = contextOf(request, links)
    const presented = { of, password, device: request.device, ticket, pointer: '/password' }
    const credential = await reauthenticate(app, presented, origin)
    await recordSuccess(app.db, credential.attempt)
    await requestEmailChange(app.db, { credential, to, hidesTaken: requireVerification }, mail)
    return reply.code(202).send({ status: 'accepted' })
  })
}

export default emailRoute
