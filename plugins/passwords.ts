import type { onRequestHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import { networkOf } from '../src/http/client-network.ts'
import { breachedPasswordLookup } from '../src/passwords/breached-passwords.ts'
import { createPasswords, type PasswordOptions, type Passwords } from '../src/passwords/passwords.ts'

declare module 'fastify' {
  interface FastifyInstance {
    passwords: Passwords
    /** Throws `overloaded` early if the hashing queue has no capacity for the request's password. */
    assertHashingCapacity: onRequestHookHandler
  }
}

export interface HashingOptions extends PasswordOptions {
  /** Whether new hashes are made with the pepper. */
  hasPepper: boolean
  breachedPasswordsUrl: string | undefined
}

/** Decorates the app with the one hashing queue of this process, and the rules for new passwords. */
export default fp(async function hashing (app, options: HashingOptions) {
  const { hasPepper, breachedPasswordsUrl, ...passwordOptions } = options
  const { keyring, log } = app
  app.decorate(
    'passwords',
    await createPasswords(
      passwordOptions,
      {
        peppers: { current: () => (hasPepper ? keyring.getPepper() : undefined), find: keyring.findPepper },
        isBreached: breachedPasswordLookup({
          url: breachedPasswordsUrl,
          onFailure: error =>
            log.warn(
              { err: error },
              'breached password lookup failed; accepting new passwords without it'
            ),
          onRecovery: () => log.info('breached password lookup works again')
        })
      },
      message => log.warn(message)
    )
  )
  app.decorate<onRequestHookHandler>('assertHashingCapacity', (request, _reply, done) => {
    // The account is not known yet, so a known device of any account counts.
    app.passwords.queue.assertCapacity({
      network: networkOf(request.ip) ?? networkOf(request.socket.remoteAddress),
      isKnownDevice: request.device !== undefined
    })
    done()
  })
}, { name: 'passwords', dependencies: ['keyring', 'device-cookie'] })
