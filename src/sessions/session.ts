import { columns, type User } from '../users/users.ts'

/** Spans in seconds. */
export interface Lifetimes {
  accessToken: number
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
  /** How often all of the user's access tokens were revoked before. */
  tokenVersion: number
  methods: string[]
  remembered: boolean
  authenticatedAt: Date
  expiresAt: Date
  /** The database's time: of tokens issued now. */
  now: Date
  generation: number
}

export interface Row extends User {
  session_id: string
  token_version: number
  methods: string[]
  remembered: boolean
  authenticated_at: Date
  expires_at: Date
  now: Date
}

export const live = ({ session_id: id, token_version: tokenVersion, methods, remembered, authenticated_at: authenticatedAt, expires_at: expiresAt, now, ...user }: Row, generation: number): LiveSession =>
  ({ id, user, tokenVersion, methods, remembered, authenticatedAt, expiresAt, now, generation })

/** The columns of a Row but `now`, of the tables or aliases `sessions` and `users`. */
export const sessionColumns = `sessions.id as session_id, sessions.methods, sessions.remembered,
  sessions.authenticated_at, sessions.expires_at, users.token_version, ${columns}`

/** Whether the session and its user are as they must be, of the tables or aliases `sessions` and `users`. */
export const isLive = 'sessions.ended_at is null and sessions.expires_at > now() and users.disabled_at is null'

// The expressions of the index over live sessions. By it a user's sessions are found fast, however many ended
// ones and other users there are.
const liveOwner = '(case when sessions.ended_at is null then sessions.user_id end)'

/** The id of a session that has not ended; order by it together with `ownedBy`. */
export const liveId = '(case when sessions.ended_at is null then sessions.id end)'

/** A condition: the session has not ended, and belongs to the user whom the parameter names. */
export const ownedBy = (parameter: string) => `${liveOwner} = ${parameter} and sessions.ended_at is null`
