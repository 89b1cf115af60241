import * as audit from '../audit/events.ts'
import type { Queryable, Statement } from '../database/database.ts'
import { newsLives, posting } from '../mail/outbox.ts'
import { invalidRefreshToken } from '../http/problem.ts'
import type { RefreshToken } from './refresh-token.ts'
import { ending } from './ending.ts'
import { isLive, live, sessionColumns, type Lifetimes, type LiveSession, type Row } from './session.ts'

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
        access_expires_at = greatest(held.access_expires_at, least(now() + make_interval(secs => $8), sessions.expires_at)),
        settled = case when held.generation = $2 or held.milestone_at + make_interval(secs => $7) > now() then held.settled
          when held.confirmed_at + make_interval(secs => $7) > now() then held.milestone else held.generation end,
        settled_hash = case when held.generation = $2 or held.milestone_at + make_interval(secs => $7) > now() then held.settled_hash
          when held.confirmed_at + make_interval(secs => $7) > now() then null else held.token_hash end,
        milestone = case when held.generation < $2 and held.milestone_at + make_interval(secs => $7) <= now() then $2 else held.milestone end,
        milestone_at = case when held.generation < $2 and held.milestone_at + make_interval(secs => $7) <= now() then now() else held.milestone_at end
      from sessions join users on users.id = sessions.user_id
      where held.session_id = $1 and sessions.id = held.session_id
        and (held.generation = $2 - 1
          or held.generation = $2 and held.token_hash = $3
            and ($4::float8 is null or held.rotated_at is null or held.rotated_at + make_interval(secs => $4) > now()))
        and ${isLive}
        and $5::timestamptz + make_interval(secs => $6) > now()
      returning ${sessionColumns}
    )
    select confirmed.*, now() as now from (select) as always left join confirmed on true`
}

// What is known of both holders: of the one who came with it this is the origin, of the other how the session began.
const replay = audit.insertion('session.replayed', {
  user: 'user_id',
  session: 'id',
  detail: "jsonb_build_object('presented', $2::int, 'confirmed', generation, 'last_used_at', last_used_at, 'opened_ip', host(ended.ip), 'opened_user_agent', ended.user_agent)"
}, '$7', 'ended')

const judge: Statement = {
  name: 'sessions.judge',
  text: `
    with ${ending(`delete from refresh_tokens as held
      where session_id = $1
        and (generation > $2
          or generation = $2 and token_hash <> $3
          or generation = $2 and rotated_at + make_interval(secs => $4) <= $6)
        and (confirmed_at + make_interval(secs => $5) <= $6
          or $2 < settled
          or $2 = settled and settled_hash <> $3
          or $2 < milestone and milestone_at + make_interval(secs => $5) <= $6)`, "'replayed'", '$7')}, found_out as (${replay}
    ), told as (${posting('$8', 'user_id', String(newsLives), 'ended')}
    )
    select (select user_id from ended) as replayed, (select generation from refresh_tokens where session_id = $1) as generation,
      (select pg_notify('latchkey_revocations', '') from revoked)`
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
 * `notice` makes the mail that tells the owner of a replay.
 */
export async function rotate (db: Queryable, token: RefreshToken, { accessToken, refreshToken, replayGrace, retryWindow }: Lifetimes, origin: audit.Origin, assertAwaited: () => void, notice: () => Buffer | undefined): Promise<LiveSession> {
  const { sessionId, generation, hash, issuedAt } = token
  const [row] = await db.query<Row | { session_id: null, now: Date }>(confirm, [sessionId, generation, hash, retryWindow ?? null, issuedAt, refreshToken, replayGrace, accessToken])
  if (row && row.session_id !== null) return live(row, generation + 1)
  assertAwaited()
  const [found] = await db.query<{ replayed: string | null, generation: number | null }>(judge, [sessionId, generation, hash, retryWindow ?? null, replayGrace, row?.now, audit.parameter(origin), notice() ?? null])
  const confirmed = found?.generation ?? null
  const refusal: Refusal = { sessionId, presented: generation, confirmed, replayed: found?.replayed != null, impossible: confirmed !== null && generation > confirmed + 1 }
  throw invalidRefreshToken(refusal)
}
