import { randomBytes } from 'node:crypto'
import * as audit from '../audit/events.ts'
import { digest } from '../crypto/sealing.ts'
import type { Database, Queryable, Statement } from '../database/database.ts'
import { enqueueMail } from '../mail/outbox.ts'
import type { User } from '../users/users.ts'
import { end } from './ending.ts'

/** What the user of a browser session has allowed a client. */
export interface GrantedConsent { scopes: string[], audiences: string[] }

/** The session of a sign-in on the pages of the service. */
export interface BrowserSession {
  id: string
  user: User
  methods: string[]
  authenticatedAt: Date
  /** The digest of the cookie's value. */
  tokenHash: Buffer
  /** The database's time. */
  now: Date
  /** For the client that the session was looked up for; undefined if the user has not allowed it anything. */
  consent: GrantedConsent | undefined
}

/** Generates a value of the cookie, with 256 random bits. */
export const generateToken = () => `lkb_${randomBytes(32).toString('base64url')}`

const tokenSyntax = /^lkb_[A-Za-z0-9_-]{43}$/

/** Returns the digest of a cookie's value; undefined if it is no such value. */
export const hashOf = (token: string): Buffer | undefined =>
  tokenSyntax.test(token) ? digest(token) : undefined

interface BrowserSessionRow extends User {
  session_id: string
  token_hash: Buffer
  is_current: boolean
  is_unused: boolean
  methods: string[]
  authenticated_at: Date
  now: Date
  replaced_seconds: number | null
  scopes: string[] | null
  audiences: string[] | null
}

const finding: Statement = {
  name: 'sessions.find-browser',
  text: `
    select sessions.id as session_id, sessions.methods, sessions.authenticated_at, now() as now,
      token_hash, superseded_at is null as is_current, used_at is null as is_unused,
      -- Since when a newer value has been in use.
      extract(epoch from now() - (
        select min(newer.used_at) from browser_tokens as newer
        where newer.session_id = tokens.session_id and newer.number > tokens.number
      ))::float8 as replaced_seconds,
      users.id, users.email, users.username, users.name, users.roles,
      users.email_verified_at is not null as email_verified, users.created_at, users.updated_at,
      consents.scopes, consents.audiences
    from browser_tokens as tokens
    join sessions on sessions.id = session_id join users on users.id = sessions.user_id
    left join consents on consents.user_id = users.id and consents.client_id = $2
    where token_hash = any ($1::bytea[])
      and sessions.ended_at is null and sessions.expires_at > now() and users.disabled_at is null`
}

// use_browser_token is in migrations/016-browser-token-use.sql.
const using: Statement = {
  name: 'sessions.use-browser-token',
  text: 'select use_browser_token($1)'
}

/** A session whose superseded cookie was used, and its user. */
export interface ReusedSession { id: string, userId: string }

/** What a browser's cookies stand for. */
export interface BrowserSessionState {
  session: BrowserSession | undefined
  /** A session whose cookie was replaced by one that was never used: its browser has not received that. */
  unconfirmed: BrowserSession | undefined
  /** A session whose used cookie is used again, longer than the grace period after the use of a newer one. */
  reused: ReusedSession | undefined
}

export interface BrowserSessionLookup {
  /** The digests of the cookies of the request. */
  hashes: Buffer[]
  /** Whether the browser has sent them. The cookie that the request issued is not used yet. */
  isPresented: boolean
  /** The client whose consent is looked up. */
  clientId?: string | undefined
  /** For how many seconds a superseded cookie is only refused. */
  replayGraceSeconds: number
}

/**
 * Finds the browser session of a request's cookies. If two of them are current, a neighbouring origin planted
 * one, and neither counts. The first use of a cookie is recorded: from then on, use of an earlier one is a
 * reuse.
 */
export async function findBrowserSession (
  db: Queryable, { hashes, isPresented, clientId, replayGraceSeconds }: BrowserSessionLookup
): Promise<BrowserSessionState> {
  if (hashes.length === 0) return { session: undefined, unconfirmed: undefined, reused: undefined }
  const rows = await db.query<BrowserSessionRow>(finding, [hashes, clientId ?? null])
  const [current, ...others] = rows.filter(row => row.is_current)
  const replaced = rows.filter(row => !row.is_current)
  const reused = replaced.find(({ is_unused: isUnused, replaced_seconds: seconds }) =>
    !isUnused && seconds !== null && seconds >= replayGraceSeconds)
  const unconfirmed = replaced.find(row => row.replaced_seconds === null)
  const own = others.length === 0 ? current : undefined
  if (isPresented && own?.is_unused) await db.query(using, [own.token_hash])
  return {
    session: own && toBrowserSession(own),
    unconfirmed: unconfirmed && toBrowserSession(unconfirmed),
    reused: reused && { id: reused.session_id, userId: reused.id }
  }
}

function toBrowserSession (row: BrowserSessionRow): BrowserSession {
  const {
    session_id: id, methods, authenticated_at: authenticatedAt, token_hash: tokenHash, now, scopes, audiences,
    replaced_seconds: _seconds, is_current: _isCurrent, is_unused: _isUnused, ...user
  } = row
  const consent = scopes && audiences ? { scopes, audiences } : undefined
  return { id, user, methods, authenticatedAt, tokenHash, now, consent }
}

// Only one of several requests finds the token family: the end of a session deletes it.
const lock = 'select from refresh_tokens where session_id = $1 for update'
const clientSessionsQuery = 'select id from sessions where parent_id = $1 and ended_at is null'

/**
 * Ends a browser session whose superseded cookie was used again: someone copied it. All its client sessions
 * end too, even those with offline access. `mail` tells the owner. Does nothing if it has ended meanwhile.
 */
export async function endReused (
  db: Database, { id, userId }: ReusedSession, mail: Buffer | undefined, origin: audit.Origin
): Promise<void> {
  await db.transaction(async tx => {
    if ((await tx.query(lock, [id])).length === 0) return
    const clientSessions = await tx.query<{ id: string }>(clientSessionsQuery, [id])
    await end(tx, [id, ...clientSessions.map(session => session.id)], 'replayed', origin)
    const detail = { presented: 'browser_cookie' }
    await audit.record(tx, 'session.replayed', { userId, sessionId: id, detail }, origin)
    await enqueueMail(tx, mail, userId)
  })
}
