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
  'Mails a link to the new address. The address changes when the link is used together with the password or',
  'a session of the account. A new request cancels the earlier one. The old address gets a mail about the',
  'request, and another about the change, with a link to undo it if that address was verified. While 20',
  'changes can still be undone, another one is refused (429). The request needs the password. If the account',
  'has none, a sign-in within the last five minutes takes its place.'
].join(' ')

const emailRoute: Typed<AccountOptions> = async (app, { links, requiresVerification }) => {
  app.post('/email', {
    schema: {
      operationId: 'changeEmail',
      tags: ['Account'],
      summary: 'Change your email address',
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
        'invalid_token', 'forbidden', { code: 'invalid_credentials', status: 403 }, 'email_taken',
        'overloaded', 'database_unavailable'
      ]
    }
  }, async (request, reply) => {
    const { password, email } = request.body
    const to = users.requireEmail(email)
    const subject = await sessions.findAccount(app.db, userOf(request))
    if (!subject) throw invalidToken(true, 'the session has ended')
    const { mail, origin, ticket } = contextOf(request, links)
    const proof = { subject, password, device: request.device, ticket, pointer: '/password' }
    const credential = await reauthenticate(app, proof, origin)
    await recordSuccess(app.db, credential.attempt)
    await requestEmailChange(app.db, { credential, to, hidesTaken: requiresVerification }, mail)
    return reply.code(202).send({ status: 'accepted' })
  })
}

export default emailRoute
