import { Type } from '@sinclair/typebox'
import type { LinkLives } from '../../src/mail/mail-context.ts'
import { changeAccount, deleteAccount, requestReset } from '../../src/accounts/administration.ts'
import { notFound } from '../../src/http/problems.ts'
import { requireUsername } from '../../src/users/users.ts'
import { find } from '../../src/users/listing.ts'
import type { RoleRules } from '../../src/accounts/user-roles.ts'
import { accepted, id, name, orNone, username } from '../schemas.ts'
import { mailContextOf, noBody, originOf, ref, strict, type Typed } from '../typed.ts'
import { AdminUser, roles, status } from './schemas.ts'

export interface UserOptions {
  /** Seconds that mailed links are good for. */
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
    const found = await find(app.db, request.params.id)
    if (!found) throw notFound()
    return found
  })

  app.patch('', {
    schema: {
      ...shared,
      operationId: 'updateUser',
      summary: 'Change a user',
      description: 'Changes what is named, all of it or nothing; null clears a name. To disable a user ends their sessions and deletes nothing. The last administrator who is not disabled stays one. A password is set by its owner alone: mail them a link.',
      body: strict({
        name: Type.Optional(orNone(name)),
        username: Type.Optional(orNone(username)),
        roles: Type.Optional(roles),
        status: Type.Optional(status),
        email_verified: Type.Optional(Type.Boolean({ description: 'Whether the address is known to be the user\'s.' }))
      }, { examples: [{ roles: ['user', 'admin'] }, { status: 'disabled' }] }),
      response: { 200: ref(AdminUser) }
    },
    config: { problems: [...problems, 'username_taken', 'last_admin'] }
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
      description: 'The account is gone for good. The last administrator who is not disabled stays.',
      response: { 204: { type: 'null', description: 'The account is gone.' } }
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
      description: 'Until it is used the password stays as it is. Nobody but the user sees the link. That of a disabled user is good once they are enabled.',
      body: strict({}, { examples: [{}] }),
      response: { 202: accepted }
    },
    preValidation: noBody,
    config: { limit: 'mail', optionalBody: true, problems }
  }, async (request, reply) => {
    if (!await requestReset(app.db, request.params.id, mailContextOf(request, links), originOf(request))) throw notFound()
    return reply.code(202).send({ status: 'accepted' })
  })
}

export default user
