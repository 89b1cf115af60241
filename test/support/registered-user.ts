import { newUser, type Service, type UserCredentials } from './app.ts'
import type { Browser } from './client.ts'

export interface RegisteredUser extends UserCredentials { id: string, sessionId: string, browser: Browser }

/** Registers a user who has these roles besides `user`. The browser is signed in with all of them. */
export async function registerUser (service: Service, ...roles: string[]): Promise<RegisteredUser> {
  const browser = service.browser()
  const credentials = newUser()
  const { body } = await browser.post('/v1/auth/register', credentials)
  await service.sql('update users set roles = $2 where id = $1', [body.user.id, ['user', ...roles]])
  browser.accessToken = (await browser.post('/v1/auth/refresh')).body.access_token
  return { ...credentials, id: body.user.id, sessionId: body.session_id, browser }
}
