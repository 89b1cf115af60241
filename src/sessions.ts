import { v7 as uuidv7 } from 'uuid'
import type { Queryable, Statement } from './db.ts'
import { invalidCredentials, invalidRefreshToken } from './problem.ts'
import type { RefreshToken } from './refresh-token.ts'
import { columns, type Credential, type User } from './users.ts'

/** Spans in seconds. */
export interface Lifetimes {
  refreshToken: number
  session: number
  rememberedSession: number
  replayGrace: number
  retryWindow: number | undefined
}

/** A session that has just proved itself, with the generation of the refresh token to hand out for it. */
export interface LiveSession {
  id: string
  user: User
  methods: string[]
  remembered: boolean
  authenticatedAt: Date
  expiresAt: Date
  /** The database's time: of tokens issued now. */
  now: Date
  generation: number
}

interface Row extends User {
  session_id: string
  methods: string[]
  remembered: boolean
  authenticated_at: Date
  expires_at: Date
  now: Date
}

const live = ({ session_id: id, methods, remembered, authenticated_at: authenticatedAt, expires_at: expiresAt, now, ...user }: Row, generation: number): LiveSession =>
  ({ id, user, methods, remembered, authenticatedAt, expiresAt, now, generation })

const sessionColumns = `sessions.id as session_id, sessions.methods, sessions.remembered,
  sessions.authenticated_at, sessions.expires_at`

export interface Opening {
  /** How the user proved who they are, in the words of RFC 8176. */
  methods: string[]
  remember: boolean
  userAgent: string | undefined
  ip: string | undefined
}

const insert: Statement = {
  name: 'sessions.open',
  text: `
    with owner as (
      select * from users where id = $2 and password_version = $3 and disabled_at is null for share
    ), opened as (
      insert into sessions (id, user_id, methods, remembered, user_agent, ip, expires_at)
      select $1, id, $4, $5, $6, $7, now() + make_interval(secs => $8) from owner
      returning *
    ), refreshable as (
      insert into refresh_tokens (session_id) select id from opened
    )
    select ${sessionColumns}, ${columns}, now() as now
    from opened as sessions join owner as users on users.id = sessions.user_id`
}

/**
 * Opens a session for a credential that was verified: every way to sign in ends here. Throws
 * `invalid_credentials` where the credential was changed, or the account disabled, since.
 */
export async function open (db: Queryable, { userId, passwordVersion }: Credential, { methods, remember, userAgent, ip }: Opening, lifetimes: Lifetimes): Promise<LiveSession> {
  // The lock on the user makes a change of the password wait for this session, or this for the change.
  const [row] = await db.query<Row>(insert, [
    uuidv7(), userId, passwordVersion, methods, remember, userAgent ?? null, ip ?? null,
    remember ? lifetimes.rememberedSession : lifetimes.session
  ])
  if (!row) throw invalidCredentials()
  return live(row, 1)
}

// Judged again on the row as it is when the lock is had: one that was confirmed meanwhile, or is gone with its session.
const confirm: Statement = {
  name: 'sessions.rotate',
  text: `
    with confirmed as (
      update refresh_tokens as held set
        generation = $2,
        token_hash = $3,
        confirmed_at = case when held.generation = $2 then held.confirmed_at else now() end,
        rotated_at = case when held.generation = $2 then coalesce(held.rotated_at, now()) else now() end,
        last_used_at = now(),
        settled = case when held.generation < $2 and held.milestone_at + make_interval(secs => $7) <= now() then held.milestone else held.settled end,
        milestone = case when held.generation < $2 and held.milestone_at + make_interval(secs => $7) <= now() then $2 else held.milestone end,
        milestone_at = case when held.generation < $2 and held.milestone_at + make_interval(secs => $7) <= now() then now() else held.milestone_at end
      from sessions join users on users.id = sessions.user_id
      where held.session_id = $1 and sessions.id = held.session_id
        and (held.generation = $2 - 1
          or held.generation = $2 and held.token_hash = $3
            and ($4::float8 is null or held.rotated_at is null or held.rotated_at + make_interval(secs => $4) > now()))
        and sessions.ended_at is null and sessions.expires_at > now() and users.disabled_at is null
        and $5::timestamptz + make_interval(secs => $6) > now()
      returning ${sessionColumns}, ${columns}
    )
    select confirmed.*, now() as now from (select) as always left join confirmed on true`
}

const judge: Statement = {
  name: 'sessions.judge',
  text: `
    with replayed as (
      delete from refresh_tokens as held
      where session_id = $1
        and (generation > $2
          or generation = $2 and token_hash <> $3
          or generation = $2 and rotated_at + make_interval(secs => $4) <= $6)
        and (confirmed_at + make_interval(secs => $5) <= $6
          or $2 < settled
          or $2 < milestone and milestone_at + make_interval(secs => $5) <= $6)
      returning session_id
    ), ended as (
      update sessions set ended_at = now(), end_reason = 'replayed'
      where id in (select session_id from replayed)
      returning user_id
    )
    select (select user_id from ended) as replayed, (select generation from refresh_tokens where session_id = $1) as generation`
}

/** What a refused refresh token was found to be; for the log. */
export interface Refusal { sessionId: string, presented: number, confirmed: number | null, replayed: boolean, impossible: boolean }

/**
 * Exchanges an authentic refresh token: the session lives on, and the next generation is to be handed out.
 *
 * The confirmed token, or an unused child of it, is taken in one statement; a child confirms itself by its
 * use, and its parent and siblings are dead from then on. Anything else throws `invalid_refresh_token` (its
 * cause is a Refusal). A token that has been dead for `replayGrace` (for at most three times as long, where
 * others were confirmed meanwhile) is a replay, and ends the session first.
 *
 * A token is judged by the time at which it was presented, and not at all once `assertAwaited` throws because
 * its caller has gone: a statement that a frozen connection delivers late must not make a replay of a duplicate.
 */
export async function rotate (db: Queryable, token: RefreshToken, { refreshToken, replayGrace, retryWindow }: Lifetimes, assertAwaited: () => void): Promise<LiveSession> {
  const { sessionId, generation, hash, issuedAt } = token
  const [row] = await db.query<Row | { session_id: null, now: Date }>(confirm, [sessionId, generation, hash, retryWindow ?? null, issuedAt, refreshToken, replayGrace])
  if (row && row.session_id !== null) return live(row, generation + 1)
  assertAwaited()
  const [found] = await db.query<{ replayed: string | null, generation: number | null }>(judge, [sessionId, generation, hash, retryWindow ?? null, replayGrace, row?.now])
  const confirmed = found?.generation ?? null
  const refusal: Refusal = { sessionId, presented: generation, confirmed, replayed: found?.replayed != null, impossible: confirmed !== null && generation > confirmed + 1 }
  throw invalidRefreshToken(refusal)
}

const select: Statement = {
  name: 'sessions.find',
  text: `select ${columns} from sessions join users on users.id = sessions.user_id
    where sessions.id = $1 and sessions.ended_at is null and sessions.expires_at > now() and users.disabled_at is null`
}

/** The user of a session that lives; undefined where it has ended or expired, or the user is disabled. */
export async function findUser (db: Queryable, sessionId: string): Promise<User | undefined> {
  const [user] = await db.query<User>(select, [sessionId])
  return user
}

export type EndReason = 'logout'

// The refresh state first and the session after it, in the order of a replay: two orders could lock each other out.
const remove: Statement = {
  name: 'sessions.end',
  text: `
    with dead as (delete from refresh_tokens where session_id = any($1::uuid[]) returning session_id)
    update sessions set ended_at = now(), end_reason = $2 from dead where id = dead.session_id and ended_at is null`
}

/** Ends sessions for good; those that have ended stay as they are. */
export async function end (db: Queryable, sessionIds: string[], reason: EndReason): Promise<void> {
  await db.query(remove, [sessionIds, reason])
}
