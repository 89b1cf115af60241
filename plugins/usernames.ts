import fp from 'fastify-plugin'
import { assertOpen, reservedUsernames } from '../src/users/reserved-usernames.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Throws `username_taken` for what nobody may choose to be called. */
    assertOpenUsername: (username: string) => Promise<void>
  }
}

/** Keeps users from names that speak for the service. */
export default fp(async function usernames (app, { serviceName }: { serviceName: string }) {
  const reserved = reservedUsernames(serviceName)
  app.decorate('assertOpenUsername', async (username: string) => { await assertOpen(app.db, username, reserved) })
}, { name: 'usernames', dependencies: ['database'] })
