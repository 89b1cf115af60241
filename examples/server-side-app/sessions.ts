import { randomBytes } from 'node:crypto'

/** A signed-in user of this application. The browser has only the id of the session, in a cookie. */
export interface Session {
  id: string
  /** The id of the user at Latchkey. */
  sub: string
  /** The id of the session at Latchkey. A logout token names it. */
  sid: string
  idToken: string
  accessToken: string
  refreshToken: string
  /** When the access token expires, in milliseconds since the epoch. */
  expiresAt: number
}

// A real application keeps its sessions in a store that survives a restart and that all its instances share.
const sessions = new Map<string, Session>()

export function create (values: Omit<Session, 'id'>): Session {
  const session = { id: randomBytes(32).toString('base64url'), ...values }
  sessions.set(session.id, session)
  return session
}

export const find = (id: string | undefined): Session | undefined =>
  id === undefined ? undefined : sessions.get(id)

export const end = ({ id }: Session): boolean => sessions.delete(id)

/** Ends the sessions that a logout token names: one session of Latchkey, or all of a user. */
export function endNamed ({ sid, sub }: { sid?: unknown, sub?: unknown }): void {
  for (const session of sessions.values()) {
    if (sid === undefined ? session.sub === sub : session.sid === sid) end(session)
  }
}
