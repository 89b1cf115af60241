import fp from 'fastify-plugin'
import { breaches } from '../src/passwords/breaches.ts'
import { passwords, type PasswordOptions, type Passwords } from '../src/passwords.ts'

declare module 'fastify' {
  interface FastifyInstance { passwords: Passwords }
}

export interface HashingOptions extends PasswordOptions {
  /** Whether new hashes have the pepper. */
  pepper: boolean
  breachedPasswordsUrl: string | undefined
}

/** The one lane in which this process hashes passwords, and the rules for new ones. */
export default fp(async function hashing (app, { pepper, breachedPasswordsUrl, ...options }: HashingOptions) {
  const { keyring, log } = app
  app.decorate('passwords', await passwords(options, {
    peppers: { current: () => pepper ? keyring.pepper() : undefined, find: keyring.findPepper },
    isBreached: breaches({
      url: breachedPasswordsUrl,
      onFailure: error => log.warn({ err: error }, 'breached passwords could not be asked for: new passwords are accepted without'),
      onRecovery: () => log.info('breached passwords can be asked for again')
    })
  }, message => log.warn(message)))
}, { name: 'passwords', dependencies: ['keyring'] })
