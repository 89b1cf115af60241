import { withConnections } from './connection.ts'

/** The request body of a login. */
export interface RegistrationBody { email: string, password: string, refresh_token_delivery: 'body' }

/** Registers users, and returns the request bodies of their logins. */
export async function registerUsers (port: number, count: number): Promise<RegistrationBody[]> {
  const logins = Array.from({ length: count }, (_, index): RegistrationBody => ({
    email: `person-${index}@example.com`,
    password: `correct horse ${index}`,
    refresh_token_delivery: 'body'
  }))
  await withConnections(port, 4, connections => Promise.all(connections.map(async (connection, index) => {
    for (let i = index; i < count; i += connections.length) {
      await connection.post('/v1/auth/register', logins[i] ?? {})
    }
  })))
  return logins
}

/** The tokens that a client holds for its session. */
export interface SessionTokens { id: string, token: string, accessToken: string }

/** Parses the tokens from the response to a registration, a login or a refresh. */
export function parseTokens (response: string): SessionTokens {
  const { session_id: id, refresh_token: token, access_token: accessToken } = JSON.parse(response)
  return { id, token, accessToken }
}
