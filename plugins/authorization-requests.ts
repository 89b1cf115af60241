import fp from 'fastify-plugin'
import type { KeyEncryptionKeys } from '../src/crypto/sealing.ts'
import * as sealedRequests from '../src/delegation/sealed-request.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Seals what a page must do after its form is submitted. It is valid for ten minutes. */
    sealedRequests: {
      seal: (pending: sealedRequests.PendingRequest) => string
      /** Returns undefined if it has expired, or was not sealed here. */
      unseal: (sealed: string) => sealedRequests.PendingRequest | undefined
    }
  }
}

export interface AuthorizationRequestsOptions { keys: KeyEncryptionKeys }

/** Seals the requests of clients, which travel through the pages instead of being in the database. */
export default fp(async function authorizationRequests (app, { keys }: AuthorizationRequestsOptions) {
  app.decorate('sealedRequests', {
    seal: pending => sealedRequests.sealRequest(keys, pending, app.keyring.nowMs()),
    unseal: sealed => sealedRequests.unsealRequest(keys, sealed, app.keyring.nowMs())
  })
}, { name: 'authorization-requests', dependencies: ['keyring'] })
