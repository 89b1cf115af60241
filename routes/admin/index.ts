import { forbidden, invalidToken } from '../../src/problem.ts'
import * as sessions from '../../src/sessions.ts'
import type { Typed } from '../typed.ts'
import clients from './clients.ts'
import keys from './keys.ts'

const role = 'admin'

/** For administrators. */
const admin: Typed = async (app) => {
  // After the limits, which are hooks of the routes, and before the body.
  app.addHook('preParsing', app.requireUser(role))

  // The claims may be older than the session's end on another instance, and than the loss of the role.
  app.addHook('preHandler', async request => {
    const user = await sessions.findUser(app.db, request.bearer.sid)
    if (!user) throw invalidToken(true, 'the session has ended')
    if (!user.roles.includes(role)) throw forbidden()
  })

  await app.register(clients, { prefix: '/clients' })
  await app.register(keys, { prefix: '/keys' })
}

export default admin
