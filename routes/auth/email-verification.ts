import { Type } from '@sinclair/typebox'
import { confirm } from '../../src/accounts/confirmation.ts'
import { currentPassword, linkToken, newPassword } from '../schemas.ts'
import { contextOf, strict, type Typed } from '../typed.ts'
import { linkRequestRoute } from './link-requests.ts'
import type { SignInOptions } from '../sign-in.ts'

const description = [
  'Does what the link was mailed for, once: verifies the address of an account, creates the account of a pending',
  'registration, changes the address to this one, or changes it back. The link proves that the',
  'caller reads the mail of the address. The caller must also prove to be the one who set the password:',
  'by the cookie of the registration, by a session of the account (the refresh cookie or the access',
  'token), or by `password`. Without such a proof the answer is 409 `password_required`. Its `methods`',
  'names the proofs that would count, and the link stays valid. For a registration and an unverified',
  'address `new_password` takes the place of a proof: it replaces the password that was set before, and',
  'ends the earlier sessions and links. For a change of address it does not. A link that changes an',
  'address back needs no other proof.'
].join(' ')

/** Verifying an address with a mailed link. */
const emailVerification: Typed<SignInOptions> = async (app, { links }) => {
  await linkRequestRoute(app, {
    path: '/email-verification',
    kind: 'email_verification',
    operationId: 'requestEmailVerification',
    summary: 'Request a link that verifies the address',
    purpose: 'Mails a link to the address of an account that has not been verified yet.',
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
      response: { 204: { type: 'null', description: 'The confirmation is done.' } }
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
    const evidence = { registrationId, sessions: await app.findProvenSessions(request), password, newPassword }
    const context = contextOf(request, links)
    const confirmation = { token, evidence, device: request.device, ticket: context.ticket }
    await confirm(app, confirmation, context)
    return reply.code(204).clearRegistrationCookie().send()
  })
}

export default emailVerification
