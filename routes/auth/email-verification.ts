import { confirm } from '../../src/accounts/email-change.ts'
import { linkToken } from '../schemas.ts'
import { lettersOf, originOf, strict, type Typed } from '../typed.ts'
import { asking } from './asking.ts'
import type { SignInOptions } from './session.ts'

/** Proving to own an address. */
const emailVerification: Typed<SignInOptions> = async (app, { links }) => {
  await asking(app, { path: '/email-verification', kind: 'email_verification', operationId: 'requestEmailVerification', summary: 'Ask for a link that proves the address', does: 'Mails a link to the address of an account that has not been proved yet.', links })

  app.post('/email-verification/confirm', {
    schema: {
      operationId: 'confirmEmail',
      tags: ['Links'],
      summary: 'Prove an address with a link',
      description: 'Does what the link was mailed for, once: proves the address of an account, makes the account that was waiting for it, changes the address to this one, or changes it back.',
      security: [],
      body: strict({ token: linkToken }, { examples: [{ token: linkToken['examples'][0] }] }),
      response: { 204: { type: 'null', description: 'It is done.' } }
    },
    config: { limit: 'password', problems: ['link_expired', 'email_taken', 'database_unavailable'] }
  }, async (request, reply) => {
    app.revocations.add(await confirm(app.db, request.body.token, lettersOf(request, links), originOf(request)))
    app.jobs.wake('mail')
    return reply.code(204).send()
  })
}

export default emailVerification
