import { newUser, type Service, type UserCredentials } from './app.ts'
import type { Browser } from './client.ts'

export const firefox = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0'
export const safari = 'Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 ' +
  '(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1'

export interface SignedInUser {
  user: UserCredentials
  browsers: Browser[]
  /** The ids of the sessions, in the order of the browsers. */
  ids: string[]
}

/** Creates a user and signs in with a browser for each user agent. The user has no other session. */
export async function signInDevices (service: Service, ...userAgents: string[]): Promise<SignedInUser> {
  const user = newUser()
  await service.browser().post('/v1/auth/register', user)
  await service.sql(
    'delete from sessions where user_id = (select id from users where email = $1)', [user.email])
  const browsers: Browser[] = []
  const ids: string[] = []
  for (const userAgent of userAgents) {
    const browser = service.browser()
    const { body } = await browser.post('/v1/auth/login', user, { 'user-agent': userAgent })
    browser.accessToken = body.access_token
    browsers.push(browser)
    ids.push(body.session_id)
  }
  return { user, browsers, ids }
}

/** Whether the access token of a browser is valid. */
export const isSignedIn = async (browser: Browser | undefined) =>
  (await browser?.get('/v1/auth/verify'))?.status === 204
