import type { onRequestHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import { networkOf } from '../src/http/client-network.ts'
import { breaches } from '../src/passwords/breached-passwords.ts'
import { passwords, type PasswordOptions, type Passwords } from '../src/passwords/passwords.ts'

declare module 'fastify' {
  interface FastifyInstance {
    passwords: Passwords
    /** Rejects a request at once if the hashing queue has no capacity for its password. */
    admitPassword: onRequestHookHandler
  }
}

export interface HashingOptions extends PasswordOptions {
  /** Whether new password hashes have a pepper. */
  pepper: boolean
  breachedPasswordsUrl: string | undefined
}

/** The hashing queue of this process, and the policy for new passwords. */
export default fp(async function hashing (app, { pepper, breachedPasswordsUrl, ...options }: HashingOptions) {
  const { keyring, log } = app
  app.decorate('passwords', await passwords(options, {
    peppers: { current: () => pepper ? keyring.getPepper() : undefined, find: keyring.findPepper },
    isBreached: breaches({
      url: breachedPasswordsUrl,
      onFailure: error => {
        log.warn({ err: error }, 'breached password check failed; new passwords pass unchecked')
      },
      onRecovery: () => log.info('breached password check works again')
    })
  }, message => log.warn(message)))
  app.decorate<onRequestHookHandler>('admitPassword', (request, _reply, done) => {
    const network = networkOf(request.ip) ?? networkOf(request.socket.remoteAddress)
    // The account is not known yet. A device that is known to any account counts as known.
    app.passwords.queue.assertCapacity({ network, known: request.device !== undefined })
    done()
  })
}, { name: 'passwords', dependencies: ['keyring', 'device-cookie'] })
