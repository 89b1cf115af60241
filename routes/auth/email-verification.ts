import { Type } from '@sinclair/typebox'
import { confirm } from '../../src/accounts/confirmation.ts'
import { currentPassword, linkToken, newPassword } from '../schemas.ts'
import type { SignInOptions } from '../sign-in.ts'
import { contextOf, strict, type Typed } from '../typed.ts'
import { addLinkRequestRoute } from './link-requests.ts'

const description = [
  'Carries out what the link was mailed for: verifies the address of an account, creates the account of a',
  'pending registration, changes an address, or changes it back. The link works once. It proves that the',
  'caller reads the mail of the address. The caller must also prove that they set the password: with the',
  'registration cookie, with a session of the account (the refresh cookie or the access token), or with',
  '`password`. Without such a proof, the response is 409 `password_required`. Its `methods` lists the',
  'accepted proofs, and the link stays valid. For a registration or an unverified address, `new_password`',
  'can be sent instead: it replaces the earlier password, and ends the earlier sessions and links. It is not',
  'accepted for a change of address. A link that changes an address back needs no other proof.'
].join(' ')

/** The routes that verify an address with a mailed link. */
const emailVerification: Typed<SignInOptions> = async (app, { links }) => {
  await addLinkRequestRoute(app, {
    path: '/email-verification',
    kind: 'email_verification',
    operationId: 'requestEmailVerification',
    summary: 'Request a link that verifies the address',
    purpose: 'Mails a link to an address that is not verified yet: of an account, or of a pending' +
      ' registration.',
    links
  })

  app.post('/email-verification/confirm', {
    schema: {
      operationId: 'confirmEmail',
      tags: ['Links'],
      summary: 'Confirm an address with a link',
      description,
      security: [{ registrationCookie: [] }, { refreshCookie: [] }, { bearer: [] }, {}],
      body: strict({
        token: linkToken,
        password: Type.Optional(currentPassword),
        new_password: Type.Optional(newPassword)
      }, {
        examples: [
          { token: linkToken['examples'][0] },
          { token: linkToken['examples'][0], password: 'a phrase of my own' },
          { token: linkToken['examples'][0], new_password: 'another phrase of my own' }
        ]
      }),
      response: { 204: { type: 'null', description: 'The confirmation succeeded.' } }
    },
    config: {
      limit: 'password',
      problems: [
        'link_expired', 'password_required', 'email_taken', { code: 'invalid_credentials', status: 403 },
        'cross_site_request', 'password_rejected', 'overloaded', 'database_unavailable'
      ]
    }
  }, async (request, reply) => {
    const { token, password, new_password: newPassword } = request.body
    const registrationId = request.registrationId()
    const sessions = await app.findProvenSessions(request)
    const evidence = { registrationId, sessions, password, newPassword }
    const context = contextOf(request, links)
    const confirmation = { token, evidence, device: request.device, ticket: context.ticket }
    await confirm(app, confirmation, context)
    return reply.code(204).clearRegistrationCookie().send()
  })
}

export default emailVerification
