import { hash, randomBytes } from 'node:crypto'
import assert from 'node:assert/strict'
import * as audit from '../audit/events.ts'
import { invalidGrant, invalidTarget } from '../http/oauth-error.ts'
import { digest } from '../crypto/sealing.ts'
import type { Queryable, Statement } from '../database/database.ts'
import { lacksReference } from '../database/sql-errors.ts'
import type { BrowserSession } from '../sessions/browser-session.ts'
import { toLiveSession, type Lifetimes, type LiveSession, type LiveSessionRow } from '../sessions/session.ts'
import { publishRevokedJson, type RevocationJson } from '../tokens/revocations.ts'
import type { AuthorizationRequest } from './authorization-request.ts'
import { signInExpired } from './problems.ts'
import { offlineAccess } from './scopes.ts'

/** Translates the error of a statement whose client was deleted meanwhile. */
export const deletedClient = (problem: () => Error) => (error: unknown): never => {
  throw lacksReference(error) ? problem() : error
}

const targetRefusal = 'The code is not for this resource, or the client may not use it any more.'
const refusal = 'The code is unknown, expired or used, or belongs to another request.'
const lifetimeSeconds = 60
const maxOfflineSessions = 10

const issuing: Statement = {
  name: 'authorization-codes.issue',
  text: `
    with live as (
      select sessions.id, token_hash, authenticated_at, methods
      from sessions join browser_tokens on session_id = sessions.id
      where sessions.id = $3 and token_hash = $11 and superseded_at is null
        and ended_at is null and expires_at > now()
    ), used as (
      -- The row is in memory anyway; it is written at most once a minute.
      update refresh_tokens set last_used_at = now()
      from live where session_id = live.id and last_used_at < now() - interval '1 minute'
    )
    insert into authorization_codes (
      code_hash, client_id, session_id, authenticated_at, redirect_uri, code_challenge, scope, audience,
      nonce, is_offline, expires_at, browser_token_hash, methods
    ) select $1, $2, id, authenticated_at, $4, $5, $6, $7, $8, $9, now() + make_interval(secs => $10),
      token_hash, methods
    from live returning 1`
}

/**
 * Issues an authorization code for a browser session; undefined if the session has ended, or its cookie was
 * superseded. Throws `sign_in_expired` if the client was deleted.
 */
export async function issueCode (
  db: Queryable, request: AuthorizationRequest, session: Pick<BrowserSession, 'id' | 'tokenHash'>
): Promise<string | undefined> {
  const code = `lkc_${randomBytes(32).toString('base64url')}`
  const { clientId, redirectUri, codeChallenge, scope, audience, nonce = null } = request
  const rows = await db.query(issuing, [
    digest(code), clientId, session.id, redirectUri, codeChallenge, scope, audience, nonce,
    scope.includes(offlineAccess), lifetimeSeconds, session.tokenHash
  ]).catch(deletedClient(signInExpired))
  return rows.length > 0 ? code : undefined
}

// redeem_authorization_code is in migrations/017-methods-of-codes.sql.
// The client may have lost a resource since it was authorized. Its code is not used up for tokens that it
// cannot get.
const redeeming: Statement = {
  name: 'authorization-codes.redeem',
  text: `
    -- $1 to $6 as for the function, $7 requested resources, $8 those that the client may have now
    with presented as materialized (
      select code_hash from authorization_codes
      where code_hash = $1 and (case when cardinality($7::text[]) > 0 then $7 else audience end) <@ $8::text[]
    ), redeemed as materialized (
      select session, owner, code, ended
      from presented, redeem_authorization_code(presented.code_hash, $2, $3, $4, $5::jsonb, $6::jsonb)
    ), used as materialized (
      -- The browser that brought the code has the cookie of the same response.
      select use_browser_token((code).browser_token_hash) from redeemed
    )
    select
      (session).id as session_id, (session).methods, (session).remembered,
      (session).authenticated_at, (session).expires_at, (session).client_id, (session).scope,
      (session).audience, (session).is_offline, (owner).id, (owner).email, (owner).username,
      (owner).name, (owner).roles,
      (owner).email_verified_at is not null as email_verified, (owner).created_at, (owner).updated_at,
      (owner).external_id, (owner).token_version, (code).nonce, to_jsonb(ended) as ended, clock.now
    from (select now()) as clock cross join (select count(*) from used) as uses
    left join redeemed on true`
}

// The client presents the code with everything that belongs to it, so the sender has the code verifier. A
// request that began before the redemption was over, or soon after it, is a retry.
const reuseDetection: Statement = {
  name: 'authorization-codes.detect-reuse',
  text: `
    -- $1 to $4 as for the redemption, $5 when the code was presented, $6 grace period, $7 origin,
    -- $8 requested resources, $9 those that the client may have now
    with reused as materialized (
      select client_session_id, codes.client_id, sessions.user_id
      from authorization_codes as codes join sessions on sessions.id = client_session_id
      where code_hash = $1 and codes.client_id = $2 and redirect_uri = $3 and code_challenge = $4
        and redeemed_at <= $5::timestamptz - make_interval(secs => $6) and ended_at is null
    ), ended as materialized (
      select to_jsonb(revocation) as revocation
      from reused
      left join lateral end_sessions(array[client_session_id], 'replayed', $7) as revocation on true
    ), reported as materialized (
      select record_event('code.reused', $7, user_id, client_session_id, client_id) from reused
    )
    select array(select revocation from ended where revocation is not null) as revocations,
      exists (
        select from authorization_codes
        where code_hash = $1 and client_id = $2 and redirect_uri = $3 and code_challenge = $4
          and redeemed_at is null and expires_at > now() and not (
            $8::text[] <@ audience
            and (case when cardinality($8) > 0 then $8 else audience end) <@ $9::text[]
          )
      ) as is_target_invalid
    from (select count(*) from reported) as reports`
}

/** A code as its client presents it. */
export interface PresentedCode {
  code: string
  clientId: string
  redirectUri: string
  codeVerifier: string
  /** The requested resources (RFC 8707); empty for those of the code. */
  audience: string[]
  /** The resources that the client may have now. */
  allowedAudience: string[]
}

export interface RedemptionRequest {
  lifetimes: Lifetimes
  origin: audit.Origin
  /** Throws if the client has disconnected, or was already answered because the request took too long. */
  assertAwaited: () => void
}

/** The client session that a code was redeemed for. */
export interface Redemption { session: LiveSession, nonce: string | undefined }

type RedeemedRow = LiveSessionRow & { nonce: string | null, ended: RevocationJson[] }

/**
 * Redeems an authorization code, once, in one statement: nothing else uses a code up. Throws `invalid_grant`
 * or `invalid_target` if it is refused. If a redeemed code is presented again later than the grace period,
 * the session that it was redeemed for ends.
 */
export async function redeemCode (
  db: Queryable, presented: PresentedCode, request: RedemptionRequest
): Promise<Redemption> {
  const { code, clientId, redirectUri, codeVerifier, audience, allowedAudience } = presented
  const { lifetimes, origin, assertAwaited } = request
  // The database has no such texts.
  if (redirectUri.includes('\0')) throw invalidGrant(refusal)
  if (audience.some(resource => resource.includes('\0'))) throw invalidTarget(targetRefusal)
  const codeParameters = [digest(code), clientId, redirectUri, hash('sha256', codeVerifier, 'base64url')]
  const parameters = {
    audience,
    access_token_seconds: lifetimes.accessTokenSeconds,
    offline_seconds: lifetimes.rememberedSessionSeconds,
    offline_limit: maxOfflineSessions
  }
  const [row] = await db.query<RedeemedRow | { session_id: null, now: Date }>(
    redeeming, [...codeParameters, JSON.stringify(parameters), origin, audience, allowedAudience]
  ).catch(deletedClient(() => invalidGrant(refusal)))
  assert(row)
  if (row.session_id !== null) {
    const { nonce, ended, ...session } = row
    publishRevokedJson(db, ended)
    return { session: toLiveSession(session, 1), nonce: nonce ?? undefined }
  }
  assertAwaited()
  const [found] = await db.query<{ revocations: RevocationJson[], is_target_invalid: boolean }>(
    reuseDetection,
    [...codeParameters, row.now, lifetimes.replayGraceSeconds, origin, audience, allowedAudience])
  assert(found)
  publishRevokedJson(db, found.revocations)
  throw found.is_target_invalid
    ? invalidTarget(targetRefusal)
    : invalidGrant(refusal)
}

const purging: Statement = {
  name: 'authorization-codes.purge',
  text: `
    delete from authorization_codes where code_hash in (
      select code_hash from authorization_codes where expires_at < now() - interval '10 minutes'
      limit $1 for update skip locked
    ) returning 1`
}

/** Purges codes that expired more than ten minutes ago, up to `batchSize`. Returns how many it purged. */
export const purgeCodes = async (db: Queryable, batchSize: number): Promise<number> =>
  (await db.query(purging, [batchSize])).length
