import { confirm } from '../../src/accounts/email-change.ts'
import * as mailbox from '../../src/accounts/mailbox.ts'
import { accepted, email, linkToken } from '../schemas.ts'
import { lettersOf, originOf, strict, type Typed } from '../typed.ts'
import type { SignInOptions } from './session.ts'

/** Proving to own an address. */
const emailVerification: Typed<SignInOptions> = async (app, { links }) => {
  app.post('/email-verification', {
    schema: {
      operationId: 'requestEmailVerification',
      tags: ['Links'],
      summary: 'Ask for a link that proves the address',
      description: 'Mails a link to the address of an account that has not been proved yet. Whether there is such an account, and whether a mail was sent, does not show.',
      security: [],
      body: strict({ email }, { examples: [{ email: 'ada@example.com' }] }),
      response: { 202: accepted }
    },
    config: { limit: 'mail', problems: ['database_unavailable'] }
  }, async (request, reply) => {
    await mailbox.request(app.db, 'email_verification', request.body.email, lettersOf(request, links))
    app.jobs.wake('mail')
    return reply.code(202).send({ status: 'accepted' })
  })

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
