import { randomBytes } from 'node:crypto'
import * as audit from '../audit/events.ts'
import type { Database, Queryable, Statement } from '../database/database.ts'
import { newId } from '../crypto/random.ts'
import { digest } from '../crypto/sealing.ts'
import { retainedSecrets, type SecretRotation } from '../crypto/secret-rotation.ts'

/** A service that acts on its own behalf (RFC 6749 section 2). */
export interface Client {
  client_id: string
  name: string
  scopes: string[]
  redirect_uris: string[]
  created_at: Date
}

/** A client with its new secret. Only the digest of the secret is stored. */
export interface ClientWithSecret extends Client { client_secret: string }

const columns = `clients.id as client_id, clients.name, clients.scopes, clients.redirect_uris,
  clients.created_at`

const newSecret = () => `lks_${randomBytes(32).toString('base64url')}`

export interface NewClient { name: string, scopes: string[], redirectUris?: string[] }

const inserting = `
  insert into clients (id, name, scopes, redirect_uris) values ($1, $2, $3, $4) returning ${columns}`
const insertingSecret = 'insert into client_secrets (secret_hash, client_id) values ($1, $2)'

/** Creates a client with its first secret. */
export async function create (
  db: Database, { name, scopes, redirectUris = [] }: NewClient, origin: audit.Origin
): Promise<ClientWithSecret> {
  const secret = newSecret()
  return await db.transaction(async tx => {
    const values = [newId(), name, [...new Set(scopes)], [...new Set(redirectUris)]]
    const [client] = await tx.query<Client>(inserting, values)
    if (!client) throw new Error('the client was not inserted')
    await tx.query(insertingSecret, [digest(secret), client.client_id])
    const event = { clientId: client.client_id, detail: { name, scopes: client.scopes } }
    await audit.record(tx, 'client.created', event, origin)
    return { ...client, client_secret: secret }
  })
}

/** A page of a list, the newest first: up to `limit` entries after the id `before`. */
export interface ClientPage { before: string | undefined, limit: number }

export async function list (db: Queryable, { before, limit }: ClientPage): Promise<Client[]> {
  return await db.query<Client>(`
    select ${columns} from clients where $1::uuid is null or id < $1
    order by id desc limit $2`, [before ?? null, limit])
}

const finding: Statement = { name: 'clients.find', text: `select ${columns} from clients where id = $1` }

export async function find (db: Queryable, id: string): Promise<Client | undefined> {
  const [client] = await db.query<Client>(finding, [id])
  return client
}

export interface ClientChange { name?: string, scopes?: string[], redirectUris?: string[] }

// The lock makes the comparison see what a concurrent change has committed.
const updating = `
  with before as (
    select *, (coalesce($2, name), coalesce($3, scopes), coalesce($4, redirect_uris))
      is distinct from (name, scopes, redirect_uris) as differs
    from clients where id = $1 for no key update
  ), changed as (
    update clients set
      name = coalesce($2, clients.name),
      scopes = coalesce($3, clients.scopes),
      redirect_uris = coalesce($4, clients.redirect_uris),
      updated_at = now()
    from before where clients.id = before.id and differs
    returning clients.*, record_event(
      'client.updated', $5, client_id => clients.id,
      detail => jsonb_build_object('name', clients.name, 'scopes', clients.scopes)
    )
  )
  select ${columns} from changed as clients
  union all
  select ${columns} from before as clients where not differs`

/** The client after the change, undefined if there is none. If nothing differs, nothing is written. */
export async function update (
  db: Queryable, id: string, change: ClientChange, origin: audit.Origin
): Promise<Client | undefined> {
  const unique = (words: string[] | undefined) => words ? [...new Set(words)] : null
  const { name = null, scopes, redirectUris } = change
  const values = [id, name, unique(scopes), unique(redirectUris), origin]
  const [client] = await db.query<Client>(updating, values)
  return client
}

const deleting = 'delete from clients where id = $1 returning name'

/**
 * Deletes a client with its secrets; returns whether it existed. Its access tokens are inactive here at once,
 * but services that verify tokens by themselves accept them until they expire.
 */
export async function deleteClient (db: Database, id: string, origin: audit.Origin): Promise<boolean> {
  return await db.transaction(async tx => {
    const [client] = await tx.query<{ name: string }>(deleting, [id])
    if (!client) return false
    await audit.record(tx, 'client.deleted', { clientId: id, detail: { name: client.name } }, origin)
    return true
  })
}

// Two rotations at the same time wait for each other. Without the lock they would leave a third secret
// behind.
const locking = `select ${columns} from clients where id = $1 for update`
const deletingSecrets = `
  delete from client_secrets where secret_hash in (
    select secret_hash from client_secrets where client_id = $1 order by created_at desc offset $2)`

/** Gives a client a new secret. Undefined if the client does not exist. */
export async function rotateSecret (
  db: Database, id: string, rotation: SecretRotation, origin: audit.Origin
): Promise<ClientWithSecret | undefined> {
  const secret = newSecret()
  return await db.transaction(async tx => {
    const [client] = await tx.query<Client>(locking, [id])
    if (!client) return undefined
    await tx.query(deletingSecrets, [id, retainedSecrets(rotation)])
    await tx.query(insertingSecret, [digest(secret), id])
    const event = { clientId: id, detail: { replaced: rotation.replace } }
    await audit.record(tx, 'client.secret_rotated', event, origin)
    return { ...client, client_secret: secret }
  })
}

const authenticating: Statement = {
  name: 'clients.authenticate',
  text: `
    select ${columns} from client_secrets join clients on clients.id = client_id
    where secret_hash = $1 and client_id = $2`
}
const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** The client with this id and this secret; undefined if they do not belong together. */
export async function authenticate (db: Queryable, id: string, secret: string): Promise<Client | undefined> {
  if (!uuid.test(id)) return undefined
  // The lookup is by digest, so its time reveals nothing about the secret.
  const [client] = await db.query<Client>(authenticating, [digest(secret), id])
  return client
}
