import type { Auth } from './auth.ts'
import { AuthError } from './auth-error.ts'
import type { Requirement } from './requirements.ts'
import type { Verifier } from './verifier.ts'

export const verified: unique symbol = Symbol('latchkey.verified')

/**
 * The part of a Fastify request that the hooks use. It fits a request of every body, query and header type.
 */
export interface Authenticated {
  raw: { headers: { authorization?: string | undefined } }
  [verified]: Verified | undefined
}

/**
 * The claims of the request's token, and which verifier found them: another one may be for another audience.
 */
export interface Verified { auth: Auth, by: object }

/** A hook for `onRequest`, `preValidation` or `preHandler`, of a route or a scope. */
export type AuthHook = (
  request: Authenticated,
  reply: { headers: (values: Record<string, string>) => unknown },
  done: (error?: Error) => void
) => void

/** Returns a function that creates hooks. A hook verifies the request's token, unless another one did. */
export function createHooks (verifier: Verifier): (requirement: Requirement) => AuthHook {
  function authenticate ({ raw, [verified]: earlier }: Authenticated): Auth | Promise<Auth> {
    return earlier?.by === verifier ? earlier.auth : verifier.authenticate(raw.headers.authorization)
  }

  return requirement => (request, reply, done) => {
    const fail = (error: unknown) => {
      // These headers stay if the service has an error handler of its own.
      if (error instanceof AuthError) reply.headers(error.headers)
      done(error instanceof Error ? error : new Error('the access token was not verified', { cause: error }))
    }
    const pass = (auth: Auth) => {
      request[verified] = { auth, by: verifier }
      try {
        requirement(auth)
      } catch (error) {
        return fail(error)
      }
      done()
    }
    let auth: Auth | Promise<Auth>
    try {
      auth = authenticate(request)
    } catch (error) {
      return fail(error)
    }
    // A cached token passes in the same tick.
    if (auth instanceof Promise) auth.then(pass, fail)
    else pass(auth)
  }
}
