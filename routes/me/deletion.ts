import { Type } from '@sinclair/typebox'
import { deleteOwnAccount } from '../../src/accounts/deletion.ts'
import { invalidToken } from '../../src/http/problems.ts'
import * as sessions from '../../src/sessions/owner.ts'
import { currentPassword } from '../schemas.ts'
import { noBody, originOf, queueTicket, strict, userOf, type Typed } from '../typed.ts'

const description = [
  'The request needs the password. For an account without one, a sign-in within the last five minutes takes its place.',
  'All sessions end, and every trace of the account is deleted. The events of the audit log stay, and keep only the ids.',
  'The address can be registered again. The last administrator cannot be deleted.'
].join(' ')

const deletion: Typed = async (app) => {
  app.delete('', {
    schema: {
      operationId: 'deleteMe',
      tags: ['Account'],
      summary: 'Delete your account',
      description,
      security: [{ bearer: [] }],
      body: strict({ password: Type.Optional(currentPassword) }, { examples: [{ password: 'a phrase of my own' }] }),
      response: { 204: { type: 'null', description: 'The account is deleted.' } }
    },
    preValidation: noBody,
    config: {
      limit: 'password',
      optionalBody: true,
      problems: [
        'invalid_token', 'forbidden', { code: 'invalid_credentials', status: 403 }, 'last_admin', 'overloaded',
        'database_unavailable'
      ]
    }
  }, async (request, reply) => {
    const { sid, sub } = userOf(request)
    const of = await sessions.findAccount(app.db, sid)
    if (!of) throw invalidToken(true, 'the session has ended')
    const { password } = request.body
    const proof = { of, password, device: request.device, ticket: queueTicket(request), pointer: '/password' }
    await deleteOwnAccount(app, proof, app.mailer.sealMail, originOf(request))
    return await reply.clearRefreshCookie().clearRegistrationCookie().forgetOnDevice(sub).code(204).send()
  })
}

export default deletion
