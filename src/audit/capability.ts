import type { Capability } from '../capability.ts'
import { describe, nullable, rowsOf, text, time, uuid } from '../syntax/json-schema.ts'
import * as events from './events.ts'

// With an equality the planner might read the events of all users in the order of their ids. A range of pairs
// makes it use the index over both columns. The origin of an event belongs to the user only if no other user
// caused it.
const aboutUser = `
  select id::text as cursor, id, type, created_at, user_id, actor_id, client_id, session_id,
    case when coalesce(actor_id, $1) = $1 then host(ip) end as ip,
    case when coalesce(actor_id, $1) = $1 then user_agent end as user_agent,
    case when coalesce(actor_id, $1) = $1 then request_id end as request_id, detail
  from audit_events
  where (user_id, id) > ($1::uuid, coalesce($2::text, '00000000-0000-0000-0000-000000000000')::uuid)
    and (user_id, id) <= ($1::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
  order by user_id, id limit $3`

// Actions of the user on other accounts, or on none. Who was affected, and how, is not their data. Each page
// is read from all their actions, even if few of them are shown, because most may be on their own account.
const actionsOfUser = `
  with page as (
    select * from audit_events
    where actor_id is not null
      and (actor_id, id) > ($1::uuid, coalesce($2::text, '00000000-0000-0000-0000-000000000000')::uuid)
      and (actor_id, id) <= ($1::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
    order by actor_id, id limit $3
  ), last as (
    select id::text as cursor, count(*) over ()::int as seen from page order by id desc limit 1
  )
  select last.cursor, last.seen, page.id, type, created_at, session_id, host(ip) as ip, user_agent, request_id
  from last left join page on actor_id is distinct from user_id order by page.id`

const origin = { ip: nullable(text), user_agent: nullable(text), request_id: nullable(text) }

const eventsPerBatch = 500

export const capability = {
  personalData: [
    {
      name: 'audit_events',
      tables: ['audit_events'],
      text: aboutUser,
      schema: describe(rowsOf({
        id: uuid,
        type: text,
        created_at: time,
        user_id: nullable(uuid),
        actor_id: describe(nullable(uuid), 'The user who did it, if known.'),
        client_id: nullable(uuid),
        session_id: nullable(uuid),
        ...origin,
        detail: { type: 'object' }
      }), 'Events about the account.')
    },
    {
      name: 'actions',
      tables: ['audit_events'],
      text: actionsOfUser,
      schema: describe(
        rowsOf({ id: uuid, type: text, created_at: time, session_id: nullable(uuid), ...origin }),
        'Actions of the user that are not about themselves.'
      )
    }
  ],
  housekeeping: [async function * (db, { auditRetentionSeconds }) {
    while (await events.purge(db, auditRetentionSeconds, eventsPerBatch) === eventsPerBatch) yield
  }]
} satisfies Capability
