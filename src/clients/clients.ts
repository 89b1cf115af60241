import * as audit from '../audit/events.ts'
import { newId } from '../crypto/random.ts'
import type { Database, Queryable, Statement } from '../database/database.ts'
import {
  changed, differences, isPublicClient, withDefaults, type ClientChange, type ClientMetadata, type NewClient
} from './metadata.ts'
import { announceChange, columns, type Client } from './records.ts'
import { deleteSecrets, insertSecret } from './secrets.ts'
import { assertValid, type ClientPolicy } from './validation.ts'

/** A new client with its first secret. A public client has none. */
export interface CreatedClient extends Client { client_secret?: string }

const inserting = `
  insert into clients (
    id, name, application_type, grant_types, redirect_uris, post_logout_redirect_uris,
    token_endpoint_auth_method, backchannel_logout_uri, id_token_signed_response_alg, first_party, audiences,
    permissions, scopes, userinfo_in_id_token
  ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) returning ${columns}`

const valuesOf = (id: string, metadata: ClientMetadata) => [
  id, metadata.name, metadata.application_type, metadata.grant_types, metadata.redirect_uris,
  metadata.post_logout_redirect_uris, metadata.token_endpoint_auth_method, metadata.backchannel_logout_uri,
  metadata.id_token_signed_response_alg, metadata.first_party, metadata.audiences, metadata.permissions,
  metadata.scopes, metadata.userinfo_in_id_token
]

/** Creates a client with its first secret. `assertValid` has checked its metadata. */
export async function create (
  db: Database, newClient: NewClient, origin: audit.Origin
): Promise<CreatedClient> {
  const metadata = withDefaults(newClient)
  return await db.transaction(async tx => {
    const [client] = await tx.query<Client>(inserting, valuesOf(newId(), metadata))
    if (!client) throw new Error('the client was not inserted')
    const secret = isPublicClient(client) ? undefined : await insertSecret(tx, client.client_id)
    await audit.record(tx, 'client.created', { clientId: client.client_id, detail: { ...metadata } }, origin)
    await announceChange(tx)
    return { ...client, ...secret !== undefined && { client_secret: secret } }
  })
}

/** A page of a list, the newest first: up to `limit` entries after the id `before`. */
export interface ClientPage { before: string | undefined, limit: number }

/** Lists a page of the clients, the newest first. */
export async function list (db: Queryable, { before, limit }: ClientPage): Promise<Client[]> {
  return await db.query<Client>(`
    select ${columns} from clients where $1::uuid is null or id < $1
    order by id desc limit $2`, [before ?? null, limit])
}

const finding: Statement = { name: 'clients.find', text: `select ${columns} from clients where id = $1` }

/** Reads a client from the database. `ClientLookup` answers from memory. */
export async function find (db: Queryable, id: string): Promise<Client | undefined> {
  const [client] = await db.query<Client>(finding, [id])
  return client
}

export interface ClientUpdate { id: string, change: ClientChange, policy: ClientPolicy }

// The lock makes the check and the comparison see what a concurrent change has committed.
const lockingForChange = `select ${columns} from clients where id = $1 for no key update`
const updating = `
  update clients set
    name = $2, application_type = $3, grant_types = $4, redirect_uris = $5, post_logout_redirect_uris = $6,
    token_endpoint_auth_method = $7, backchannel_logout_uri = $8, id_token_signed_response_alg = $9,
    first_party = $10, audiences = $11, permissions = $12, scopes = $13, userinfo_in_id_token = $14,
    updated_at = now()
  where id = $1 returning ${columns}`

/**
 * The client after the change, undefined if there is none. If nothing differs, nothing is written. Throws
 * `validation_failed` if the client would break a rule. A client that becomes public loses its secrets.
 */
export async function update (
  db: Database, { id, change, policy }: ClientUpdate, origin: audit.Origin
): Promise<Client | undefined> {
  return await db.transaction(async tx => {
    const [before] = await tx.query<Client>(lockingForChange, [id])
    if (!before) return undefined
    const metadata = changed(before, change)
    const members = differences(before, metadata)
    if (members.length === 0) return before
    assertValid(metadata, policy, members)
    const [client] = await tx.query<Client>(updating, valuesOf(id, metadata))
    if (isPublicClient(metadata)) await deleteSecrets(tx, id)
    const values = Object.fromEntries(members.map(member => [member, metadata[member]]))
    const { name, scopes } = metadata
    const detail = { name, scopes, ...values, changed: members }
    await audit.record(tx, 'client.updated', { clientId: id, detail }, origin)
    await announceChange(tx)
    return client
  })
}

const deleting = 'delete from clients where id = $1 returning name'

/**
 * Deletes a client with its secrets; returns whether it existed. Its access tokens are inactive here at once,
 * but services that verify tokens by themselves accept them until they expire.
 */
export async function deleteClient (tx: Queryable, id: string, origin: audit.Origin): Promise<boolean> {
  const [client] = await tx.query<{ name: string }>(deleting, [id])
  if (!client) return false
  await audit.record(tx, 'client.deleted', { clientId: id, detail: { name: client.name } }, origin)
  await announceChange(tx)
  return true
}
