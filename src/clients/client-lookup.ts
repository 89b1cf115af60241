import { LRUCache } from 'lru-cache'
import { digest } from '../crypto/sealing.ts'
import type { Queryable, Statement } from '../database/database.ts'
import { isPublicClient, type AuthMethod } from './metadata.ts'
import { columns, type Client } from './records.ts'

/** What a client has sent to authenticate itself. Only a public client sends no secret. */
export interface PresentedCredentials { id: string, method: AuthMethod, secret?: string }

/** Finds clients, in memory if they were read recently. */
export interface ClientLookup {
  find: (id: string) => Promise<Client | undefined>
  /** The client of these credentials; undefined if they are wrong, or of another method than registered. */
  authenticate: (credentials: PresentedCredentials) => Promise<Client | undefined>
  /** Whether a client has a redirect URI of this origin. */
  isRedirectOrigin: (origin: string) => Promise<boolean>
  /** Forgets everything, after a change. */
  clear: () => void
}

interface KnownClient { client: Client, secretHashes: ReadonlySet<string> }

/** The life of an entry, for an instance that no notification reaches. */
const defaultLifeMs = 5_000
const maxClients = 1_000

const reading: Statement = {
  name: 'clients.read',
  text: `
    select ${columns}, array(
      select encode(secret_hash, 'hex') from client_secrets where client_id = clients.id) as secret_hashes
    from clients where id = $1`
}
const readingOrigins: Statement = {
  name: 'clients.origins',
  text: `
    select distinct substring(uri from '^https?://[^/?#]+') as origin
    from clients, unnest(redirect_uris) as uri where uri like 'http%'`
}
const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/**
 * The clients of the database. If no notification arrives, an entry in memory is out of date for `lifeMs` at
 * most.
 */
export function createClientLookup (db: Queryable, { lifeMs = defaultLifeMs } = {}): ClientLookup {
  const readClient = cached<KnownClient>({ max: maxClients, lifeMs }, async id => {
    const [row] = await db.query<Client & { secret_hashes: string[] }>(reading, [id])
    if (!row) return undefined
    const { secret_hashes: secretHashes, ...client } = row
    return { client, secretHashes: new Set(secretHashes) }
  })
  const readOrigins = cached<ReadonlySet<string>>({ max: 1, lifeMs }, async () => {
    const rows = await db.query<{ origin: string | null }>(readingOrigins)
    // Browsers leave out a default port.
    const origins = rows.flatMap(({ origin }) =>
      origin !== null && URL.canParse(origin) ? [origin] : [])
    return new Set(origins.map(origin => new URL(origin).origin))
  })
  const read = async (id: string) => uuid.test(id) ? await readClient.get(id) : undefined

  return {
    find: async id => (await read(id))?.client,
    async authenticate ({ id, method, secret }) {
      const known = await read(id)
      if (!known || !hasMethod(known.client, method)) return undefined
      if (isPublicClient(known.client)) return secret === undefined ? known.client : undefined
      // The lookup is by digest, so its time reveals nothing about the secret.
      const isAuthentic = secret !== undefined && known.secretHashes.has(digest(secret).toString('hex'))
      return isAuthentic ? known.client : undefined
    },
    isRedirectOrigin: async origin => (await readOrigins.get(''))?.has(origin) === true,
    clear () {
      readClient.clear()
      readOrigins.clear()
    }
  }
}

/** RFC 7591 section 2: a client has one method. Clients from before there was a choice have two. */
const hasMethod = ({ token_endpoint_auth_method: registered }: Client, method: AuthMethod) =>
  registered === null ? method !== 'none' : registered === method

/** Keeps values in memory for a short time. What does not exist is not kept, and neither is a failure. */
function cached<Value extends object> (
  { max, lifeMs }: { max: number, lifeMs: number }, read: (key: string) => Promise<Value | undefined>
) {
  const values = new LRUCache<string, Value>({ max, ttl: lifeMs })
  let pending = new Map<string, Promise<Value | undefined>>()

  async function load (key: string, reads: typeof pending): Promise<Value | undefined> {
    const start = performance.now()
    try {
      const value = await read(key)
      // What was read before a change may be outdated. `clear` has then replaced the map.
      if (value && reads === pending) values.set(key, value, { start })
      return value
    } finally {
      reads.delete(key)
    }
  }

  return {
    async get (key: string): Promise<Value | undefined> {
      const value = values.get(key)
      if (value) return value
      const reads = pending
      const started = reads.get(key) ?? load(key, reads)
      reads.set(key, started)
      return await started
    },
    clear () {
      values.clear()
      pending = new Map()
    }
  }
}
