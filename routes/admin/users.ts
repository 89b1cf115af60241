import { Type } from '@sinclair/typebox'
import { createAccount, mailedInvitation } from '../../src/accounts/administration.ts'
import { validationFailed } from '../../src/http/problems.ts'
import { cursorAfter, list, readCursor } from '../../src/users/listing.ts'
import { email, name, newPassword, orNone, page, pageOf, paging, username } from '../schemas.ts'
import { contextOf, ref, strict, text, type Typed } from '../typed.ts'
import { AdminUser, externalId, role, roles, status } from './schemas.ts'
import type { UserOptions } from './user.ts'

const cursor = Type.String({
  pattern: '^[A-Za-z0-9_-]+$', maxLength: 1024, description: '`next_cursor` of the previous page.'
})

/** The users. */
const users: Typed<UserOptions> = async (app, { links, rules }) => {
  const shared = { tags: ['Administration'], security: [{ bearer: [] }] }
  const problems = ['invalid_token', 'forbidden', 'database_unavailable'] as const

  app.get('', {
    schema: {
      ...shared,
      operationId: 'listUsers',
      summary: 'List the users',
      description: 'Lists the users by email address. Filters are combined with AND.',
      querystring: strict({
        email: Type.Optional(text(1, 320, {
          description: 'The beginning of the address. Case does not matter, and there are no wildcards.',
          examples: ['ada@']
        })),
        role: Type.Optional(role),
        status: Type.Optional(status),
        external_id: Type.Optional(externalId),
        limit: paging.limit,
        cursor: Type.Optional(cursor)
      }),
      response: { 200: page(AdminUser) }
    },
    config: { problems }
  }, async request => {
    const { limit = 20, cursor, email, ...others } = request.query
    const filter = { ...others, email: email && withPlusSigns(email) }
    const after = cursor === undefined ? undefined : readCursor(cursor)
    if (cursor !== undefined && after === undefined) {
      const violations = [{ pointer: '/cursor', detail: 'must be the `next_cursor` of a page' }]
      throw validationFailed('The cursor is invalid.', violations)
    }
    const users = await list(app.db, filter, { after, limit: limit + 1 })
    return pageOf(users, limit, cursorAfter)
  })

  app.post('', {
    schema: {
      ...shared,
      operationId: 'createUser',
      summary: 'Create an account',
      description: 'Without `password`, the user gets a mail with a link to set the first password. The' +
        ' link is valid as long as a link that verifies an address. If you set a password, the user should' +
        ' change it after the first sign-in.',
      body: strict({
        email,
        name: Type.Optional(orNone(name)),
        username: Type.Optional(orNone(username)),
        password: Type.Optional(newPassword),
        roles: Type.Optional(roles),
        external_id: Type.Optional(orNone(externalId)),
        email_verified: Type.Optional(Type.Boolean({
          description: 'Whether the address is verified.', default: false
        }))
      }, { examples: [{ email: 'ada@example.com', name: 'Ada Lovelace', roles: ['user'] }] }),
      response: { 201: ref(AdminUser) }
    },
    onRequest: app.assertHashingCapacity,
    config: {
      limit: 'password',
      problems: [
        ...problems, 'email_taken', 'username_taken', 'external_id_taken', 'password_rejected', 'overloaded'
      ]
    }
  }, async (request, reply) => {
    const { mail, ...context } = contextOf(request, links)
    const creation = { account: request.body, invitation: mailedInvitation(mail), rules }
    const user = await createAccount(app, creation, context)
    return reply.code(201).send(user)
  })
}

/**
 * Restores the plus signs of an address in a query that does not encode them, where they stand for spaces. A
 * local part has no spaces.
 */
function withPlusSigns (email: string): string {
  const [localPart = '', ...domain] = email.trimStart().split('@')
  return [localPart.replaceAll(' ', '+'), ...domain].join('@')
}

export default users
