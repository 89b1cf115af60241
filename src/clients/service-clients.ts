import { randomBytes } from 'node:crypto'
import * as audit from '../audit/events.ts'
import type { Database, Queryable, Statement } from '../database/database.ts'
import { newId } from '../crypto/random.ts'
import { digest } from '../crypto/sealing.ts'

/** A service that acts for itself (RFC 6749 section 2). */
export interface Client {
  client_id: string
  name: string
  scopes: string[]
  redirect_uris: string[]
  created_at: Date
}

/** A client with a secret that was just made; it is kept nowhere. */
export interface ClientWithSecret extends Client { client_secret: string }

// Of secrets, one more than are in use at a time only while one is replaced.
const live = 2

const columns = 'clients.id as client_id, clients.name, clients.scopes, clients.redirect_uris, clients.created_at'

const newSecret = () => `lks_${randomBytes(32).toString('base64url')}`

export interface NewClient { name: string, scopes: string[], redirectUris?: string[] }

/** Makes a client with its first secret. */
export async function create (db: Database, { name, scopes, redirectUris = [] }: NewClient, origin: audit.Origin): Promise<ClientWithSecret> {
  const secret = newSecret()
  return await db.transaction(async tx => {
    const [client] = await tx.query<Client>(`
      insert into clients (id, name, scopes, redirect_uris) values ($1, $2, $3, $4) returning ${columns}`, [newId(), name, [...new Set(scopes)], [...new Set(redirectUris)]])
    if (!client) throw new Error('a client was not inserted')
    await tx.query('insert into client_secrets (secret_hash, client_id) values ($1, $2)', [digest(secret), client.client_id])
    await audit.record(tx, 'client.created', { clientId: client.client_id, detail: { name, scopes: client.scopes } }, origin)
    return { ...client, client_secret: secret }
  })
}

/** The clients, the newest first, from the one after `before` on. */
export async function list (db: Queryable, { before, limit }: { before: string | undefined, limit: number }): Promise<Client[]> {
  return await db.query<Client>(`select ${columns} from clients where $1::uuid is null or id < $1 order by id desc limit $2`, [before ?? null, limit])
}

/** The client of this id; undefined where there is none. */
export async function find (db: Queryable, id: string): Promise<Client | undefined> {
  const [client] = await db.query<Client>(byId, [id])
  return client
}
const byId: Statement = { name: 'clients.find', text: `select ${columns} from clients where id = $1` }

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
    returning clients.*, record_event('client.updated', $5, client_id => clients.id, detail => jsonb_build_object(
      'name', clients.name, 'scopes', clients.scopes
    ))
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

/** Removes a client with its secrets; gives whether there was one. Its access tokens live on until they expire, but are inactive here. */
export async function remove (db: Database, id: string, origin: audit.Origin): Promise<boolean> {
  return await db.transaction(async tx => {
    const [gone] = await tx.query<{ name: string }>('delete from clients where id = $1 returning name', [id])
    if (gone) await audit.record(tx, 'client.deleted', { clientId: id, detail: { name: gone.name } }, origin)
    return gone !== undefined
  })
}

/**
 * Gives a client a new secret; the one before stays good until the next one is made, or ends now where `replace`.
 * Undefined where there is no such client.
 */
export async function addSecret (db: Database, id: string, { replace }: { replace: boolean }, origin: audit.Origin): Promise<ClientWithSecret | undefined> {
  const secret = newSecret()
  return await db.transaction(async tx => {
    // Locked, so that two at a time leave no third one behind.
    const [client] = await tx.query<Client>(`select ${columns} from clients where id = $1 for update`, [id])
    if (!client) return undefined
    await tx.query(`
      delete from client_secrets where secret_hash in (
        select secret_hash from client_secrets where client_id = $1 order by created_at desc offset $2)`, [id, replace ? 0 : live - 1])
    await tx.query('insert into client_secrets (secret_hash, client_id) values ($1, $2)', [digest(secret), id])
    await audit.record(tx, 'client.secret_rotated', { clientId: id, detail: { replaced: replace } }, origin)
    return { ...client, client_secret: secret }
  })
}

const bySecret: Statement = {
  name: 'clients.authenticate',
  text: `select ${columns} from client_secrets join clients on clients.id = client_id where secret_hash = $1 and client_id = $2`
}

/** The client that proves itself by its id and one of its secrets; undefined where they do not fit. */
export async function authenticate (db: Queryable, id: string, secret: string): Promise<Client | undefined> {
  // A digest is looked up, so the time it takes says nothing of the secret.
  const [client] = uuid.test(id) ? await db.query<Client>(bySecret, [digest(secret), id]) : []
  return client
}
const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
