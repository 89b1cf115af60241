import * as audit from '../audit/events.ts'
import { random16 } from '../crypto/random.ts'
import type { Queryable, Statement } from '../database/database.ts'
import { invalidCredentials } from '../users/problems.ts'
import { notificationLifetimeSeconds, publishEnqueuedMail } from '../mail/outbox.ts'
import type { CountedAttempt } from '../throttle/sign-in-throttle.ts'
import { publishRevokedJson, type RevocationJson } from '../tokens/revocations.ts'
import type { Credential } from '../users/credential.ts'
import { toLiveSession, type Lifetimes, type LiveSession, type LiveSessionRow } from './session.ts'

/** The sessions that a sign-in replaces: those whose refresh tokens came with the request. */
export interface ReplacedSessions {
  ids: string[]
  /** Whether they end even if they belong to another user, because the browser overwrites their cookie. */
  includesOthers: boolean
}

/** The properties of a new session. */
export interface SessionRequest {
  /** How the user was authenticated, in the terms of RFC 8176. */
  methods: string[]
  isRemembered: boolean
  lifetimes: Lifetimes
  /** How many sessions the user may have. Creating another ends the oldest. */
  sessionLimit: number
  replaced?: ReplacedSessions
  /** The counted sign-in attempt, which the success resets. */
  attempt?: CountedAttempt
  /** The sealed mail that asks the owner about a sign-in from a new device. */
  notification?: Buffer | undefined
  /** The cookie of the browser session to create or to renew. Undefined for a sign-in of the API. */
  browser?: BrowserCookies | undefined
}

/** The values of the cookie of a browser session, as digests. */
export interface BrowserCookies {
  /** That of the new cookie. */
  hash: Buffer
  /** That of the cookie that came with the request. Its session is renewed if it is the same user's. */
  presentedHash: Buffer | undefined
}

// create_session (migrations/018-late-sign-ins.sql) takes the locks of users and sessions. Those of the
// throttle come last.
const creation: Statement = {
  name: 'sessions.create',
  text: `
    with created as materialized (
      select session, owner, generation, ended from create_session($1, $2, $3::jsonb, $4::jsonb)
    )
    select
      (session).id as session_id, (session).methods, (session).remembered,
      (session).authenticated_at, (session).expires_at, (session).client_id, (session).scope,
      (session).audience, (session).is_offline, generation, (owner).id, (owner).email, (owner).username,
      (owner).name, (owner).roles,
      (owner).email_verified_at is not null as email_verified, (owner).created_at, (owner).updated_at,
      (owner).external_id, (owner).token_version, to_jsonb(ended) as ended, now() as now,
      enqueue_mail((owner).id, $5, $8), refund_login_attempt($6, $7)
    from created`
}

/**
 * Creates a session for a verified credential, in one round trip, or renews the browser session of the
 * request if it is the same user's: it keeps its id, and so its client sessions. Only `complete` calls it.
 * The replaced sessions end with it, and so do the oldest ones if the user would otherwise have too many.
 * Throws `invalid_credentials` if the credential was changed or the account disabled since it was verified.
 */
export async function createSession (
  db: Queryable, { userId, passwordVersion }: Credential, request: SessionRequest, origin: audit.Origin
): Promise<LiveSession> {
  const { methods, isRemembered, lifetimes, sessionLimit, replaced, attempt, notification, browser } = request
  const refreshNonce = Buffer.from(random16())
  const parameters = {
    methods,
    remembered: isRemembered,
    session_seconds: isRemembered ? lifetimes.rememberedSessionSeconds : lifetimes.sessionSeconds,
    access_token_seconds: lifetimes.accessTokenSeconds,
    refresh_token_seconds: lifetimes.refreshTokenSeconds,
    session_limit: sessionLimit,
    replay_grace_seconds: lifetimes.replayGraceSeconds,
    replaced: replaced?.ids ?? [],
    refresh_nonce: refreshNonce.toString('hex'),
    replaces_others: browser !== undefined || (replaced?.includesOthers ?? false),
    ...browser && { browser_token_hash: browser.hash.toString('hex') },
    ...browser?.presentedHash && { presented_browser_token_hash: browser.presentedHash.toString('hex') }
  }
  const [row] = await db.query<LiveSessionRow & { generation: number, ended: RevocationJson[] }>(creation, [
    userId, passwordVersion, JSON.stringify(parameters), origin,
    notification ?? null, attempt?.resetKey ?? null, attempt?.refundKeys ?? [], notificationLifetimeSeconds
  ])
  if (!row) throw invalidCredentials()
  const { ended, generation, ...session } = row
  publishRevokedJson(db, ended)
  publishEnqueuedMail(db, notification)
  return toLiveSession(session, generation, refreshNonce)
}
