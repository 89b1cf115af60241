import * as audit from '../audit/events.ts'
import type { Queryable, Statement } from '../database/database.ts'
import { newsLives, posting } from '../mail/outbox.ts'
import { invalidCredentials } from '../http/problem.ts'
import { stored, type Revocation, type StoredRevocation } from '../tokens/revocations.ts'
import { isLive, live, sessionColumns, type Lifetimes, type LiveSession, type Row } from './session.ts'
import { successParts, type CountedAttempt } from '../throttle/sign-in-throttle.ts'
import { columns, type User } from '../users/users.ts'
import { accountColumns, identifiedByEmail, type Account, type Credential, type IdentifiedAccount } from '../users/credential.ts'

/** The sessions that a sign-in replaces: those whose refresh tokens came with the request. */
export interface ReplacedSessions {
  ids: string[]
  /** Whether they end although they are another user's, because the browser overwrites their cookie. */
  evenOfOthers: boolean
}

/** What a sign-in asks of a new session. */
export interface SessionRequest {
  /** How the user proved who they are, in the words of RFC 8176. */
  methods: string[]
  remember: boolean
  lifetimes: Lifetimes
  /** How many sessions the user may have; with one more the oldest ends. */
  sessionLimit: number
  replaced?: ReplacedSessions
  /** The counted attempt, which the success resets. */
  attempt?: CountedAttempt
  /** The mail that asks the owner whether it was them. */
  notice?: Buffer | undefined
}

/** A new session, and the revocations of those that ended for it. */
export interface CreatedSession { session: LiveSession, ended: Revocation[] }

const create: Statement = {
  name: 'sessions.create',
  text: `
    with created as materialized (
      select session, owner, ended from create_session($1, $2, $3, $4)
    ), asked as (${posting('$5', '(owner).id', String(newsLives), 'created')}
    ), ${successParts('$6::bytea', '$7')}
    select ${sessionColumns}, now() as now, to_jsonb(created.ended) as ended
    from created
    cross join lateral (select (created.session).*) as sessions
    cross join lateral (select (created.owner).*) as users`
}

/** A revocation as JSON, in which a time is text. */
type RevocationJson = Omit<StoredRevocation, 'ended_at' | 'expires_at'> & Record<'ended_at' | 'expires_at', string>

const fromJson = ({ ended_at: endedAt, expires_at: expiresAt, ...revocation }: RevocationJson): Revocation =>
  stored({ ...revocation, ended_at: new Date(endedAt), expires_at: new Date(expiresAt) })

/**
 * Creates a session for a verified credential, in one round trip: every way to sign in ends here. The
 * sessions that it replaces end with it, and the oldest ones if the user would have too many. Throws
 * `invalid_credentials` if the credential was changed or the account disabled since.
 */
export async function createSession (
  db: Queryable, { userId, passwordVersion }: Credential, request: SessionRequest, origin: audit.Origin
): Promise<CreatedSession> {
  const { methods, remember, lifetimes, sessionLimit, replaced, attempt, notice } = request
  const asked = {
    methods,
    remembered: remember,
    session_seconds: remember ? lifetimes.rememberedSession : lifetimes.session,
    access_token_seconds: lifetimes.accessToken,
    refresh_token_seconds: lifetimes.refreshToken,
    session_limit: sessionLimit,
    replaced: replaced?.ids ?? [],
    replaces_others: replaced?.evenOfOthers ?? false
  }
  const [row] = await db.query<Row & { ended: RevocationJson[] }>(create, [
    userId, passwordVersion, JSON.stringify(asked), audit.parameter(origin),
    notice ?? null, attempt?.resetKey ?? null, attempt?.refundKeys ?? []
  ])
  if (!row) throw invalidCredentials()
  const { ended, ...session } = row
  return { session: live(session, 1), ended: ended.map(fromJson) }
}

const select: Statement = {
  name: 'sessions.find',
  text: `select ${columns} from sessions join users on users.id = sessions.user_id where sessions.id = $1 and ${isLive}`
}

/** The user of a session that lives; undefined where it has ended or expired, or the user is disabled. */
export async function findUser (db: Queryable, sessionId: string): Promise<User | undefined> {
  const [user] = await db.query<User>(select, [sessionId])
  return user
}

const selectAccount: Statement = {
  name: 'sessions.find-account',
  text: `select sessions.authenticated_at, ${accountColumns} from sessions join users on users.id = sessions.user_id where sessions.id = $1 and ${isLive}`
}

/** The account of a session, and when its user proved who they are. */
export interface Holder extends IdentifiedAccount { account: Account, authenticatedAt: Date }

/** The account of the user of a session that lives, to have its password checked; undefined as for `findUser`. */
export async function findAccount (db: Queryable, sessionId: string): Promise<Holder | undefined> {
  const [row] = await db.query<Account & { authenticated_at: Date }>(selectAccount, [sessionId])
  if (!row) return undefined
  const { authenticated_at: authenticatedAt, ...account } = row
  return { ...identifiedByEmail(account), account, authenticatedAt }
}
