import { newUser, type Service } from './app.ts'
import type { Browser } from './client.ts'

export const firefox = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0'
export const safari = 'Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) ' +
  'Version/17.5 Mobile/15E148 Safari/604.1'

export interface SignedInUser { credentials: { email: string, password: string }, browsers: Browser[], ids: string[] }

/** Registers a user and signs it in with one browser for each user agent; `ids` are those of the sessions. */
export async function signInUser (service: Service, ...userAgents: string[]): Promise<SignedInUser> {
  const credentials = newUser()
  await service.browser().post('/v1/auth/register', credentials)
  await service.sql('delete from sessions where user_id = (select id from users where email = $1)', [credentials.email])
  const browsers: Browser[] = []
  const ids: string[] = []
  for (const userAgent of userAgents) {
    const browser = service.browser()
    const { body } = await browser.post('/v1/auth/login', credentials, { 'user-agent': userAgent })
    browser.accessToken = body.access_token
    browsers.push(browser)
    ids.push(body.session_id)
  }
  return { credentials, browsers, ids }
}

/** Whether the browser's access token is accepted. */
export const isSignedIn = async (browser: Browser | undefined) => (await browser?.get('/v1/auth/verify'))?.status === 204
