import { Type } from '@sinclair/typebox'
import { changePassword } from '../../src/accounts/password-change.ts'
import { invalidToken } from '../../src/http/problems.ts'
import type { LinkLives } from '../../src/mail/mail-context.ts'
import * as sessions from '../../src/sessions/owner.ts'
import { currentPassword, newPassword } from '../schemas.ts'
import { contextOf, strict, userOf, type Typed } from '../typed.ts'

export interface AccountOptions {
  /** For how many seconds mailed links are valid. */
  links: LinkLives
  /** Whether an address must be verified before its account can be used. */
  requireVerification: boolean
}

const description = [
  'The request needs the current password too. For an account without one, a sign-in within the last five minutes takes',
  'its place. All other sessions of the user end, and all known devices are forgotten but this one.'
].join(' ')

const password: Typed<AccountOptions> = async (app, { links }) => {
  app.post('/password', {
    schema: {
      operationId: 'changePassword',
      tags: ['Account'],
      summary: 'Change your password',
      description,
      security: [{ bearer: [] }],
      body: strict({ current_password: Type.Optional(currentPassword), new_password: newPassword }, {
        examples: [{ current_password: 'a phrase of my own', new_password: 'another phrase of my own' }]
      }),
      response: { 204: { type: 'null', description: 'The password is changed.' } }
    },
    config: {
      limit: 'password',
      problems: [
        'invalid_token', 'forbidden', { code: 'invalid_credentials', status: 403 }, 'password_rejected', 'overloaded',
        'database_unavailable'
      ]
    }
  }, async (request, reply) => {
    const { current_password: current, new_password: chosen } = request.body
    const { sid: sessionId, sub } = userOf(request)
    const of = await sessions.findAccount(app.db, sessionId)
    if (!of) throw invalidToken(true, 'the session has ended')
    const context = contextOf(request, links)
    const { ticket } = context
    const proof = { of, password: current, device: request.device, ticket, pointer: '/current_password' }
    const devicesKnownFrom = await changePassword(app, { proof, newPassword: chosen, sessionId }, context)
    reply.setDeviceCookie(sub, devicesKnownFrom)
    return await reply.code(204).send()
  })
}

export default password
