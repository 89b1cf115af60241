import { Type } from '@sinclair/typebox'
import { invalidToken } from '../../src/http/problems.ts'
import * as sessions from '../../src/sessions/owner.ts'
import * as users from '../../src/users/users.ts'
import { name, orNone, User, username } from '../schemas.ts'
import { originOf, ref, strict, userOf, type Typed } from '../typed.ts'
import consents from './consents.ts'
import deletion from './deletion.ts'
import email from './email.ts'
import dataExport from './export.ts'
import password, { type AccountOptions } from './password.ts'
import ownSessions, { type OwnSessionsOptions } from './sessions.ts'

/** The routes of the signed-in user's account. */
const me: Typed<OwnSessionsOptions & AccountOptions> = async (app, options) => {
  const { refreshTokenSeconds, links, requiresVerification } = options
  // After the rate limits, which are hooks of the routes, and before the body is read.
  app.addHook('preParsing', app.requireUser({ scopes: ['account'] }))

  app.get('', {
    schema: {
      operationId: 'getMe',
      tags: ['Account'],
      summary: 'Read your account',
      security: [{ bearer: [] }],
      response: { 200: ref(User) }
    },
    config: { problems: ['invalid_token', 'forbidden', 'database_unavailable'] }
  }, async request => {
    const user = await sessions.findUser(app.db, userOf(request).sid)
    if (!user) throw invalidToken(true, 'the session has ended')
    return user
  })

  app.patch('', {
    schema: {
      operationId: 'updateMe',
      tags: ['Account'],
      summary: 'Change your account',
      description: 'Changes only the given members. `null` clears `name` or `username`.',
      security: [{ bearer: [] }],
      body: strict({
        name: Type.Optional(orNone(name)),
        username: Type.Optional(orNone(username))
      }, { examples: [{ name: 'Ada King' }] }),
      response: { 200: ref(User) }
    },
    config: { problems: ['invalid_token', 'forbidden', 'username_taken', 'database_unavailable'] }
  }, async request => {
    const { name, username } = request.body
    const user = await sessions.findUser(app.db, userOf(request).sid)
    if (!user) throw invalidToken(true, 'the session has ended')
    if (name === undefined && username === undefined) return user
    // A user who already has a reserved username keeps it.
    if (username != null && username.toLowerCase() !== user.username) {
      await app.assertUsernameAvailable(username)
    }
    const updated = await users.update(app.db, user.id, {
      ...name !== undefined && { name },
      ...username !== undefined && { username: username && users.requireUsername(username) }
    }, originOf(request))
    if (!updated) throw invalidToken(true, 'the account was deleted')
    return updated
  })

  await app.register(deletion)
  await app.register(dataExport)
  await app.register(password, { links, requiresVerification })
  await app.register(email, { links, requiresVerification })
  await app.register(consents)
  await app.register(ownSessions, { prefix: '/sessions', refreshTokenSeconds })
}

export default me
