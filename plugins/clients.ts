import fp from 'fastify-plugin'
import { createClientLookup, type ClientLookup } from '../src/clients/client-lookup.ts'
import { clientChanges } from '../src/clients/records.ts'
import type { ClientPolicy } from '../src/clients/validation.ts'
import type { Trust } from '../src/config/config.ts'
import { createDestination } from '../src/webhooks/destination.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The clients. A change takes effect at once on every instance that hears notifications. */
    clients: Pick<ClientLookup, 'find' | 'authenticate' | 'isRedirectOrigin'> & {
      /** What is checked when a client is created or changed. */
      policy: ClientPolicy
    }
  }
}

export interface ClientsOptions extends Omit<ClientPolicy, 'destinationRefusal'> {
  /** Addresses that may be notified of sign-outs although they are not public. */
  privateNetworks: Trust | undefined
}

/** The registered clients. They are kept in memory, and read again when an instance changed one. */
export default fp(async function clients (app, { privateNetworks, ...policy }: ClientsOptions) {
  const { refusal: destinationRefusal } = createDestination({ privateNetworks, requiresHttps: true })
  const { clear, ...lookup } = createClientLookup(app.db)
  app.decorate('clients', { ...lookup, policy: { ...policy, destinationRefusal } })
  app.db.subscribe(clientChanges, clear)
  app.notifications.on('latchkey_clients', clear)
}, { name: 'clients', dependencies: ['database', 'notifications'] })
