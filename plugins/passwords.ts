import type { onRequestHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import { networkOf } from '../src/http/client-network.ts'
import { breaches } from '../src/passwords/breached-passwords.ts'
import { passwords, type PasswordOptions, type Passwords } from '../src/passwords/passwords.ts'

declare module 'fastify' {
  interface FastifyInstance {
    passwords: Passwords
    /** Refuses a request whose password would not come to be hashed in time, before it has cost anything. */
    admitPassword: onRequestHookHandler
  }
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
      onFailure: error => log.warn({ err: error }, 'breached password lookup failed; accepting new passwords without it'),
      onRecovery: () => log.info('breached password lookup works again')
    })
  }, message => log.warn(message)))
  app.decorate<onRequestHookHandler>('admitPassword', (request, _reply, done) => {
    // Of which account it will be is not known yet: a device that knows any is let in.
    app.passwords.queue.assertCapacity({ network: networkOf(request.ip) ?? networkOf(request.socket.remoteAddress), known: request.device !== undefined })
    done()
  })
}, { name: 'passwords', dependencies: ['keyring', 'device-cookie'] })
