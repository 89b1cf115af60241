import { forbidden, invalidToken } from '../../src/http/problems.ts'
import * as sessions from '../../src/sessions/owner.ts'
import { userOf, type Typed } from '../typed.ts'
import auditEvents from './audit-events.ts'
import clients from './clients.ts'
import keys from './keys.ts'
import * as schemas from './schemas.ts'
import userSessions, { type UserSessionsOptions } from './user-sessions.ts'
import user, { type UserOptions } from './user.ts'
import users from './users.ts'
import webhooks from './webhooks.ts'

const role = 'admin'

export interface AdminOptions extends UserOptions, UserSessionsOptions {}

/** The routes for administrators. */
const admin: Typed<AdminOptions> = async (app, { links, rules, refreshTokenSeconds }) => {
  // After the rate limits, which are hooks of the routes, and before the body is read.
  app.addHook('preParsing', app.requireUser({ roles: [role] }))

  // The claims may be older than the end of the session on another instance, or than the loss of the role.
  app.addHook('preHandler', async request => {
    const user = await sessions.findUser(app.db, userOf(request).sid)
    if (!user) throw invalidToken(true, 'the session has ended')
    if (!user.roles.includes(role)) throw forbidden()
  })

  for (const schema of schemas.shared) app.addSchema(schema)
  await app.register(clients, { prefix: '/clients' })
  await app.register(keys, { prefix: '/keys' })
  await app.register(users, { prefix: '/users', links, rules })
  await app.register(user, { prefix: '/users/:id', links, rules })
  await app.register(userSessions, { prefix: '/users/:id/sessions', refreshTokenSeconds })
  await app.register(auditEvents, { prefix: '/audit-events' })
  await app.register(webhooks, { prefix: '/webhooks' })
}

export default admin
