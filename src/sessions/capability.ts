import type { Capability, HousekeepingTask } from '../capability.ts'
import { arrayOf, boolean, describe, nullable, rowsOf, text, time, uuid } from '../syntax/json-schema.ts'
import { purgeExpired } from './expiry.ts'
import { problems } from './problems.ts'
import { endSurplus, findUsersOverLimit } from './surplus.ts'

const auditEvents = ['session.ended', 'session.replayed'] as const

const mailKinds = [
  { kind: 'session_replayed', action: 'forgot', isNotification: true }
] as const

declare module '../audit/events.ts' {
  interface AuditEventTypes extends Record<typeof auditEvents[number], true> {}
}

declare module '../mail/mail-kinds.ts' {
  interface MailKinds extends Record<typeof mailKinds[number]['kind'], true> {}
}

const listedSessions = 20_000
const surplusBatch = 500
const expiredBatch = 500

// Ends the surplus in small batches, so that no statement has to end all of it at once.
const endSurplusSessions: HousekeepingTask = async function * (db, { sessionLimit }) {
  for (let after: string | undefined, hasMore = true; hasMore;) {
    const { userIds, last } = await findUsersOverLimit(db, after, listedSessions, sessionLimit)
    for (const userId of userIds) {
      while (await endSurplus(db, userId, sessionLimit, surplusBatch)) yield
    }
    after = last
    hasMore = last !== undefined
    yield
  }
}

const purgeExpiredSessions: HousekeepingTask = async function * (db, { refreshTokenSeconds }) {
  for (let after: string | undefined, hasMore = true; hasMore;) {
    const { last } = await purgeExpired(db, { after, limit: expiredBatch, refreshTokenSeconds })
    after = last
    hasMore = last !== undefined
    yield
  }
}

// With an equality the planner might read the sessions of all users in the order of their ids. A range of
// pairs makes it use the index over both columns.
const ofUser = `
  select id::text as cursor, id, methods, authenticated_at, remembered, user_agent, host(ip) as ip,
    created_at, last_used_at, expires_at, ended_at, end_reason, client_id, scope, audience
  from sessions left join refresh_tokens on session_id = id
  where (user_id, id) > ($1::uuid, coalesce($2::text, '00000000-0000-0000-0000-000000000000')::uuid)
    and (user_id, id) <= ($1::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
  order by user_id, id limit $3`

export const capability = {
  auditEvents,
  problems,
  mailKinds,
  personalData: [{
    name: 'sessions',
    tables: ['sessions', 'refresh_tokens'],
    text: ofUser,
    schema: describe(rowsOf({
      id: uuid,
      methods: arrayOf(text),
      authenticated_at: time,
      remembered: boolean,
      user_agent: nullable(text),
      ip: nullable(text),
      created_at: time,
      last_used_at: nullable(time),
      expires_at: time,
      ended_at: nullable(time),
      end_reason: nullable(text),
      client_id: describe(nullable(uuid), 'The client that the session belongs to; null for your own.'),
      scope: nullable(arrayOf(text)),
      audience: nullable(arrayOf(text))
    }), 'Ended sessions are kept for a day.')
  }],
  housekeeping: [endSurplusSessions, purgeExpiredSessions]
} satisfies Capability
