import { Type } from '@sinclair/typebox'
import { changeAccount, deleteAccount, requestReset } from '../../src/accounts/administration.ts'
import type { RoleRules } from '../../src/accounts/user-roles.ts'
import { notFound } from '../../src/http/problems.ts'
import type { LinkLives } from '../../src/mail/mail-context.ts'
import { find } from '../../src/users/listing.ts'
import { requireUsername } from '../../src/users/users.ts'
import { accepted, id, name, orNone, username } from '../schemas.ts'
import { mailContextOf, allowMissingBody, originOf, ref, strict, type Typed } from '../typed.ts'
import { AdminUser, externalId, roles, status } from './schemas.ts'

export interface UserOptions {
  /** For how many seconds mailed links are valid. */
  links: LinkLives
  rules: RoleRules
}

/** One user. */
const user: Typed<UserOptions> = async (app, { links, rules }) => {
  const shared = { tags: ['Administration'], security: [{ bearer: [] }], params: strict({ id }) }
  const problems = ['invalid_token', 'forbidden', 'not_found', 'database_unavailable'] as const

  app.get('', {
    schema: {
      ...shared,
      operationId: 'getUser',
      summary: 'Read a user',
      response: { 200: ref(AdminUser) }
    },
    config: { problems }
  }, async request => {
    const user = await find(app.db, request.params.id)
    if (!user) throw notFound()
    return user
  })

  app.patch('', {
    schema: {
      ...shared,
      operationId: 'updateUser',
      summary: 'Change a user',
      description: 'Changes the given members, all or none. Null clears a name or the external id.' +
        ' Disabling a user ends their sessions. The last enabled administrator cannot be disabled or lose' +
        ' the role. An administrator cannot set a password, but can mail the user a link to set one.',
      body: strict({
        name: Type.Optional(orNone(name)),
        username: Type.Optional(orNone(username)),
        roles: Type.Optional(roles),
        status: Type.Optional(status),
        external_id: Type.Optional(orNone(externalId)),
        email_verified: Type.Optional(Type.Boolean({ description: 'Whether the address is verified.' }))
      }, { examples: [{ roles: ['user', 'admin'] }, { status: 'disabled' }] }),
      response: { 200: ref(AdminUser) }
    },
    config: { problems: [...problems, 'username_taken', 'external_id_taken', 'last_admin'] }
  }, async request => {
    const { username, ...others } = request.body
    const names = { ...username !== undefined && { username: username && requireUsername(username) } }
    const update = { id: request.params.id, change: { ...others, ...names }, rules }
    const changed = await changeAccount(app.db, update, originOf(request))
    if (!changed) throw notFound()
    return changed
  })

  app.delete('', {
    schema: {
      ...shared,
      operationId: 'deleteUser',
      summary: 'Delete a user',
      description: 'Deletes the account permanently. The last enabled administrator cannot be deleted.',
      response: { 204: { type: 'null', description: 'The account was deleted.' } }
    },
    config: { problems: [...problems, 'last_admin'] }
  }, async (request, reply) => {
    const isDeleted = await deleteAccount(app.db, request.params.id, app.mailer.sealMail, originOf(request))
    if (!isDeleted) throw notFound()
    return reply.code(204).send()
  })

  app.post('/password-reset', {
    schema: {
      ...shared,
      operationId: 'resetUserPassword',
      summary: 'Mail a user a link to set a new password',
      description: 'The current password stays valid until the link is used. Only the user gets the link. A' +
        ' disabled user can use it once they are enabled.',
      body: strict({}, { examples: [{}] }),
      response: { 202: accepted }
    },
    preValidation: allowMissingBody,
    config: { limit: 'mail', isBodyOptional: true, problems }
  }, async (request, reply) => {
    const { params: { id } } = request
    const isRequested = await requestReset(app.db, id, mailContextOf(request, links), originOf(request))
    if (!isRequested) throw notFound()
    return reply.code(202).send({ status: 'accepted' })
  })
}

export default user
