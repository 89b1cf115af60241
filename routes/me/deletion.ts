import { Type } from '@sinclair/typebox'
import { deleteOwnAccount } from '../../src/accounts/deletion.ts'
import { invalidToken } from '../../src/http/problems.ts'
import * as sessions from '../../src/sessions/owner.ts'
import { currentPassword } from '../schemas.ts'
import { allowMissingBody, originOf, queueTicketOf, strict, userOf, type Typed } from '../typed.ts'

const description = [
  'Deletes the account with all its data, and ends all sessions. The events of the audit log stay, but keep',
  'only the ids. The address can be registered again. The last enabled administrator cannot be deleted. The',
  'request needs the password. If the account has none, a sign-in within the last five minutes takes its',
  'place.'
].join(' ')

const deletion: Typed = async (app) => {
  app.delete('', {
    schema: {
      operationId: 'deleteMe',
      tags: ['Account'],
      summary: 'Delete your account',
      description,
      security: [{ bearer: [] }],
      body: strict({ password: Type.Optional(currentPassword) }, {
        examples: [{ password: 'a phrase of my own' }]
      }),
      response: { 204: { type: 'null', description: 'The account was deleted.' } }
    },
    preValidation: allowMissingBody,
    config: {
      limit: 'password',
      isBodyOptional: true,
      problems: [
        'invalid_token', 'forbidden', { code: 'invalid_credentials', status: 403 }, 'last_admin',
        'overloaded', 'database_unavailable'
      ]
    }
  }, async (request, reply) => {
    const claims = userOf(request)
    const subject = await sessions.findAccount(app.db, claims)
    if (!subject) throw invalidToken(true, 'the session has ended')
    const { device, body: { password } } = request
    const proof = { subject, password, device, ticket: queueTicketOf(request), pointer: '/password' }
    await deleteOwnAccount(app, proof, app.mailer.sealMail, originOf(request))
    return await reply.clearRefreshCookie().clearRegistrationCookie().forgetOnDevice(claims.sub).code(204)
      .send()
  })
}

export default deletion
