import { withConnections } from './connection.ts'

/** The body with which somebody signs in. */
export interface Login { email: string, password: string, refresh_token_delivery: 'body' }

/** Registers so many people. */
export async function register (port: number, count: number): Promise<Login[]> {
  const logins = Array.from({ length: count }, (_, index): Login => ({ email: `person-${index}@example.com`, password: `correct horse ${index}`, refresh_token_delivery: 'body' }))
  await withConnections(port, 4, connections => Promise.all(connections.map(async (connection, index) => {
    for (let i = index; i < count; i += connections.length) await connection.post('/v1/auth/register', logins[i] ?? {})
  })))
  return logins
}

/** What a session's next refresh sends. */
export interface Held { id: string, token: string, accessToken: string }

export function held (answer: string): Held {
  const { session_id: id, refresh_token: token, access_token: accessToken } = JSON.parse(answer)
  return { id, token, accessToken }
}
