import assert from 'node:assert/strict'
import * as audit from '../audit/events.ts'
import type { Queryable, Statement } from '../database/database.ts'
import { invalidRefreshToken, type RefusedRefresh } from './problems.ts'
import { notificationLifetimeSeconds, publishEnqueuedMail } from '../mail/outbox.ts'
import { publishRevokedJson, type RevocationJson } from '../tokens/revocations.ts'
import type { RefreshToken } from './refresh-token.ts'
import { toLiveSession, type Lifetimes, type LiveSession, type LiveSessionRow } from './session.ts'

// Refresh token rotation with reuse detection (RFC 9700 section 4.14.2).
//
// A token family is one row of `refresh_tokens`. Let c be the generation of the row, and g that of the token.
//
// | case                  | what it means                            | outcome                              |
// | --------------------- | ---------------------------------------- | ------------------------------------ |
// | g = c, same hash      | the current token again: a retry after a | issue a successor of generation      |
// |                       | lost response, or another tab            | c + 1; only the time of the last use |
// |                       |                                          | and the expiry change                |
// | g = c + 1             | the token of the sign-in (c = 0), or a   | confirm it, and issue a successor of |
// |                       | successor, used for the first time       | generation g + 1                     |
// | g > c + 1             | the database has lost its newest state,  | the same; the caller logs it         |
// |                       | in a failover or with a restored backup  |                                      |
// | g = c, another hash   | two successors of one token were used    | superseded at `confirmations[1]`     |
// | g < c                 | an older token                           | superseded at `confirmations[c - g]` |
// | g = c, same hash,     | the current token, but too late for a    | superseded at `confirmations[1]`     |
// | retry window is over  | retry                                    |                                      |
// | of another client     | the client has no right to it            | refuse                               |
// | no row; the session,  | the session cannot be refreshed          | refuse                               |
// | or token has expired; |                                          |                                      |
// | user is disabled      |                                          |                                      |
//
// Supersession takes precedence over the other refusals: a superseded token is reused even if it has expired,
// or its session or user is not valid any more, as long as the family exists.
//
// A token that is presented less than REFRESH_REPLAY_GRACE after it was superseded is only refused. It may be
// a duplicate that a network or a proxy delivers late, and a refusal gives a thief nothing. Later it is
// reused, and its reuse ends the session. A token whose entry is beyond the end of `confirmations` was
// superseded longer ago than the grace period.
//
// For a token that was used, the entry is exact. A successor that was never used (g = 2) was superseded when
// another one of its generation was confirmed. But if a later generation has been confirmed since (c = 3),
// its entry is the time of that one. So its reuse may be detected one grace period later than it could be.
//
// No token has generation 0. Its entry, the time of the sign-in, only keeps the list from being empty.

// One UPDATE serves the cases that issue a successor. If it waits for the row's lock, it evaluates its
// conditions again on the row that it gets. It matches nothing if the session has ended meanwhile.
const rotation: Statement = {
  name: 'sessions.rotate',
  text: `
    -- $1 session, $2 generation and $3 hash of the token, $4 retry window, $5 grace period,
    -- $6 when the token was issued, $7 lifetime of a refresh token, $8 of an access token, $9 client,
    -- $10 nonce of the token
    with exchanged as (
      update refresh_tokens as family set
        generation = $2,
        token_hash = $3,
        -- If the database lost confirmations, now() stands in for each. Entries beyond the grace period go.
        confirmations = case when family.generation = $2 then family.confirmations else (
          array_fill(now(), array[least($2 - family.generation, 32)]) || array(
            select confirmed_at from unnest(family.confirmations) as confirmed_at
            where confirmed_at > now() - make_interval(secs => $5) order by confirmed_at desc
          ))[:32] end,
        -- Only the token that a repeated sign-in issued shows that its client has signed in again.
        renewal_nonce = nullif(family.renewal_nonce, $10),
        last_used_at = now(),
        access_expires_at = greatest(
          family.access_expires_at, least(now() + make_interval(secs => $8), sessions.expires_at))
      from sessions join users on users.id = sessions.user_id
      where family.session_id = $1 and sessions.id = family.session_id
        and (
          family.generation < $2
          or (family.generation = $2 and family.token_hash = $3
            and ($4::float8 is null or family.confirmations[1] > now() - make_interval(secs => $4)))
        )
        and sessions.ended_at is null and sessions.expires_at > now() and users.disabled_at is null
        -- The token has not expired.
        and $6::timestamptz > now() - make_interval(secs => $7)
        -- The token was issued to this client (RFC 6749 section 6); null for the first party.
        and sessions.client_id is not distinct from $9
      returning
        sessions.id as session_id, sessions.remembered,
        case when family.renewal_nonce is null then sessions.methods else family.earlier_methods end
          as methods,
        case when family.renewal_nonce is null then sessions.authenticated_at
          else least(family.earlier_authenticated_at, sessions.authenticated_at) end as authenticated_at,
        sessions.expires_at, sessions.client_id, sessions.scope, sessions.audience, sessions.is_offline,
        users.id, users.email, users.username, users.name, users.roles,
        users.email_verified_at is not null as email_verified, users.created_at, users.updated_at,
        users.external_id, users.token_version,
        -- The second entry is now() only if this statement added two of them, that is, if g > c + 1.
        coalesce(family.confirmations[2] = now(), false) as has_lost_state
    )
    select exchanged.*, clock.now from (select now()) as clock left join exchanged on true`
}

// The row is evaluated under its lock. The session ends with its revocation and the notification of the other
// instances (`end_sessions`), with what is known of both holders in the audit log, and with a mail to the
// owner.
const reuseDetection: Statement = {
  name: 'sessions.detect-reuse',
  text: `
    -- $1 session, $2 generation and $3 hash of the token, $4 retry window, $5 grace period,
    -- $6 when the token was presented, $7 origin of the request, $8 mail to the owner, $9 its lifetime,
    -- $10 client
    with reused as materialized (
      select family.session_id, family.generation, family.last_used_at,
        sessions.user_id, sessions.ip, sessions.user_agent
      from refresh_tokens as family join sessions on sessions.id = family.session_id
      where family.session_id = $1 and sessions.client_id is not distinct from $10
        and (
          family.generation > $2
          or (family.generation = $2 and family.token_hash <> $3)
          or (family.generation = $2
            -- Null without a retry window, and so false.
            and family.confirmations[1] <= $6::timestamptz - make_interval(secs => $4))
        )
        -- Superseded longer ago than the grace period. A missing entry, which is null, counts as long ago.
        and (family.confirmations[greatest(family.generation - $2, 1)]
          > $6::timestamptz - make_interval(secs => $5)) is not true
      for update of family
    ), ended as materialized (
      select to_jsonb(revocation) as revocation
      from reused left join lateral end_sessions(array[session_id], 'replayed', $7) as revocation on true
    ), reported as materialized (
      select
        record_event('session.replayed', $7, user_id => user_id, session_id => session_id,
          detail => jsonb_build_object(
            'presented', $2::int, 'confirmed', generation, 'last_used_at', last_used_at,
            'opened_ip', host(ip), 'opened_user_agent', user_agent)),
        enqueue_mail(user_id, $8, $9)
      from reused
    )
    select (select generation from refresh_tokens where session_id = $1) as confirmed,
      array(select revocation from ended where revocation is not null) as revocations,
      (select count(*) from reported) > 0 as "isReused"`
}

/** A refresh as its caller knows it. */
export interface RefreshRequest {
  origin: audit.Origin
  /** Throws if the client has disconnected, or was already answered because the request took too long. */
  assertAwaited: () => void
  /** Makes the sealed mail that tells the owner of a reuse; undefined if no mail is set up. */
  sealNotification: () => Buffer | undefined
  /** Called if the token is newer than its row, because the database has lost what it had committed. */
  onLostState: (details: { sessionId: string, presented: number }) => void
  /** The client that presents the token; undefined for the first party. */
  clientId?: string | undefined
}

/**
 * Exchanges an authentic refresh token, in one statement and one round trip. The session lives on, and the
 * caller issues a token of the generation that is returned. Throws `invalid_refresh_token` if the token is
 * refused; its cause is a RefusedRefresh. If the token was reused, its session is ended first, in a commit of
 * its own.
 */
export async function rotate (
  db: Queryable, token: RefreshToken, lifetimes: Lifetimes, request: RefreshRequest
): Promise<LiveSession> {
  const { sessionId, generation, hash, issuedAt, nonce } = token
  const { retryWindowSeconds, replayGraceSeconds, refreshTokenSeconds, accessTokenSeconds } = lifetimes
  const [row] = await db.query<
    LiveSessionRow & { has_lost_state: boolean } | { session_id: null, now: Date }
  >(rotation, [
    sessionId, generation, hash, retryWindowSeconds ?? null, replayGraceSeconds, issuedAt,
    refreshTokenSeconds, accessTokenSeconds, request.clientId ?? null, nonce
  ])
  assert(row)
  if (row.session_id !== null) {
    const { has_lost_state: hasLostState, ...exchanged } = row
    if (hasLostState) request.onLostState({ sessionId, presented: generation })
    return toLiveSession(exchanged, generation + 1)
  }
  // A frozen connection may deliver the next statement late, after the client was told to retry and has used
  // a successor. Such a late duplicate must not count as a reuse.
  request.assertAwaited()
  throw invalidRefreshToken(await detectReuse(db, token, { lifetimes, request, presentedAt: row.now }))
}

interface ReuseDetection extends Pick<RefusedRefresh, 'confirmed'> {
  isReused: boolean
  revocations: RevocationJson[]
}

interface Presentation { lifetimes: Lifetimes, request: RefreshRequest, presentedAt: Date }

/** Ends the session of a refused token if the token was reused at the time when it was presented. */
async function detectReuse (
  db: Queryable, { sessionId, generation, hash }: RefreshToken, presentation: Presentation
): Promise<RefusedRefresh> {
  const { lifetimes: { retryWindowSeconds, replayGraceSeconds }, request, presentedAt } = presentation
  const notification = request.sealNotification()
  const [found] = await db.query<ReuseDetection>(reuseDetection, [
    sessionId, generation, hash, retryWindowSeconds ?? null, replayGraceSeconds, presentedAt,
    request.origin, notification ?? null, notificationLifetimeSeconds, request.clientId ?? null
  ])
  assert(found)
  const { confirmed, isReused, revocations } = found
  publishRevokedJson(db, revocations)
  if (isReused) publishEnqueuedMail(db, notification)
  return { sessionId, presented: generation, confirmed, replayed: isReused }
}
