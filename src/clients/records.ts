import { createTopic } from '../database/effects.ts'
import type { Queryable } from '../database/database.ts'
import type { AuthMethod, ClientMetadata } from './metadata.ts'

/** A registered client: a service that acts for itself, or to which users sign in (RFC 6749 section 2). */
export interface Client extends ClientMetadata {
  client_id: string
  created_at: Date
}

/**
 * A client as it is shown. If it has not chosen between the two methods of secrets, it is shown with the
 * default of RFC 7591.
 */
export const present = <Stored extends Client>(
  client: Stored
): Stored & { token_endpoint_auth_method: AuthMethod } =>
    ({ ...client, token_endpoint_auth_method: client.token_endpoint_auth_method ?? 'client_secret_basic' })

/** The columns of a client. */
export const columns = `clients.id as client_id, clients.name, clients.application_type, clients.grant_types,
  clients.redirect_uris, clients.post_logout_redirect_uris, clients.token_endpoint_auth_method,
  clients.backchannel_logout_uri, clients.id_token_signed_response_alg, clients.first_party,
  clients.audiences, clients.permissions, clients.scopes, clients.userinfo_in_id_token, clients.created_at`

/** Published after each change of a client or of its secrets. */
export const clientChanges = createTopic<undefined>('client changes')

/** Tells all instances that a client or its secrets have changed, once the transaction is committed. */
export async function announceChange (tx: Queryable): Promise<void> {
  await tx.query("select pg_notify('latchkey_clients', '')")
  tx.publish(clientChanges, undefined)
}
