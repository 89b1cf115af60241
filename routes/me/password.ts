import { Type } from '@sinclair/typebox'
import { changePassword } from '../../src/accounts/password-change.ts'
import { invalidToken } from '../../src/http/problems.ts'
import type { LinkLives } from '../../src/mail/mail-context.ts'
import * as sessions from '../../src/sessions/owner.ts'
import * as schemas from '../schemas.ts'
import { contextOf, strict, userOf, type Typed } from '../typed.ts'

export interface AccountOptions {
  /** For how many seconds mailed links are valid. */
  links: LinkLives
  /** Whether an address must be verified before its account can be used. */
  requiresVerification: boolean
}

const description = [
  'Sets a new password. All other sessions of the user end, and all other known devices are forgotten. The',
  'request needs the current password. If the account has none, a sign-in within the last five minutes takes',
  'its place.'
].join(' ')

const password: Typed<AccountOptions> = async (app, { links }) => {
  app.post('/password', {
    schema: {
      operationId: 'changePassword',
      tags: ['Account'],
      summary: 'Change your password',
      description,
      security: [{ bearer: [] }],
      body: strict({
        current_password: Type.Optional(schemas.currentPassword), new_password: schemas.newPassword
      }, {
        examples: [{ current_password: 'a phrase of my own', new_password: 'another phrase of my own' }]
      }),
      response: { 204: { type: 'null', description: 'The password was changed.' } }
    },
    config: {
      limit: 'password',
      problems: [
        'invalid_token', 'forbidden', { code: 'invalid_credentials', status: 403 }, 'password_rejected',
        'overloaded', 'database_unavailable'
      ]
    }
  }, async (request, reply) => {
    const { current_password: currentPassword, new_password: newPassword } = request.body
    const claims = userOf(request)
    const { sid: sessionId, sub } = claims
    const subject = await sessions.findAccount(app.db, claims)
    if (!subject) throw invalidToken(true, 'the session has ended')
    const context = contextOf(request, links)
    const proof = {
      subject,
      password: currentPassword,
      device: request.device,
      ticket: context.ticket,
      pointer: '/current_password'
    }
    const devicesKnownFrom = await changePassword(app, { proof, newPassword, sessionId }, context)
    reply.setDeviceCookie(sub, devicesKnownFrom)
    return await reply.code(204).send()
  })
}

export default password
