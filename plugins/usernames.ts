import fp from 'fastify-plugin'
import { assertUsernameAvailable, reservedUsernames } from '../src/users/reserved-usernames.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Throws `username_taken` if the name is taken or reserved. */
    assertUsernameAvailable: (username: string) => Promise<void>
  }
}

/** Keeps users from names that seem to speak for the service. */
export default fp(async function usernames (app, { serviceName }: { serviceName: string }) {
  const reserved = reservedUsernames(serviceName)
  app.decorate(
    'assertUsernameAvailable',
    async username => await assertUsernameAvailable(app.db, username, reserved)
  )
}, { name: 'usernames', dependencies: ['database'] })
