import fp from 'fastify-plugin'
import { passwords, type PasswordOptions, type Passwords } from '../src/passwords.ts'

declare module 'fastify' {
  interface FastifyInstance { passwords: Passwords }
}

/** The one lane in which this process hashes passwords. */
export default fp(async function hashing (app, options: PasswordOptions) {
  app.decorate('passwords', await passwords(options, message => app.log.warn(message)))
}, { name: 'passwords' })
