import type { Queryable, Statement } from '../database/database.ts'

/** A session as its user sees it. */
export interface OwnSession {
  id: string
  created_at: Date
  last_used_at: Date
  expires_at: Date
  user_agent: string | null
  ip: string | null
  methods: string[]
  /** The client that the session belongs to, and its name; null for a first-party session. */
  client_id: string | null
  client_name: string | null
}

// A session whose refresh token has expired cannot be refreshed any more. The list is sorted by the second
// expression of the index behind `unended_sessions`.
const page: Statement = {
  name: 'sessions.list',
  text: `
    select session.id, session.created_at, last_used_at,
      case when is_browser then expires_at
        else least(expires_at, last_used_at + make_interval(secs => $2)) end as expires_at,
      user_agent, host(ip) as ip, methods, client_id, clients.name as client_name
    from unended_sessions($1) as session join refresh_tokens on session_id = session.id
    left join clients on clients.id = client_id
    where expires_at > now() and (is_browser or last_used_at + make_interval(secs => $2) > now())
      and ($3::uuid is null or (case when ended_at is null then session.id end) < $3)
    order by (case when ended_at is null then session.id end) desc limit $4`
}

export interface SessionPage {
  /** The lifetime of a refresh token. */
  refreshTokenSeconds: number
  /** The session after which the page begins; undefined for the first page. */
  before: string | undefined
  limit: number
}

/** A page of the user's sessions that can be refreshed, the newest first. */
export async function list (
  db: Queryable, userId: string, { refreshTokenSeconds, before, limit }: SessionPage
): Promise<OwnSession[]> {
  return await db.query<OwnSession>(page, [userId, refreshTokenSeconds, before ?? null, limit])
}
