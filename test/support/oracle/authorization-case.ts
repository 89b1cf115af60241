import type { Answer } from '../client.ts'
import { authorizationOf } from '../delegation.ts'
import type { Case, Difference, World } from './case.ts'
import { authorizationOutcome } from './outcomes.ts'
import { encode, type Agent, type Parameters } from './parties.ts'

export interface AuthorizationOptions {
  client?: 'orders' | 'phone'
  /** Whether the user has signed in before, and given consent. */
  signedIn?: boolean
  /** Parameters that are sent once more. */
  added?: Parameters
  method?: 'get' | 'post'
  difference?: Difference
}
export type AuthorizationChange = Parameters | ((world: World) => Parameters | Promise<Parameters>)
export type AuthorizationRow = [
  name: string, change: AuthorizationChange, expected: string, options?: AuthorizationOptions
]

/** The case of an authorization request. */
export const toAuthorizationCase = (
  [name, change, expected, { difference, ...options } = {}]: AuthorizationRow
): Case => ({
  name,
  expected,
  ...difference && { difference },
  run: async world => {
    const { party } = world
    const { client: clientName = 'orders', signedIn = false, added, method = 'get' } = options
    const client = world[clientName]
    const overrides = typeof change === 'function' ? await change(world) : change
    const attempt = authorizationOf(client, overrides)
    const browser = signedIn ? await party.signedInBrowser(client) : party.newBrowser()
    const url = `${attempt.url}${added ? `&${encode(added)}` : ''}`
    const answer = method === 'get' ? await browser.get(url) : await postTo(browser, url)
    return authorizationOutcome(answer, party.issuer, {
      state: overrides['state'] ?? attempt.state, redirectUri: overrides['redirect_uri'] ?? client.redirectUri
    })
  }
})

/** Sends the parameters in a form. A page that only leads to the same request by GET is followed. */
async function postTo (browser: Agent, url: string): Promise<Answer> {
  const [path = '', query = ''] = url.split('?')
  const answer = await browser.post(path, query, { 'content-type': 'application/x-www-form-urlencoded' })
  const location = String(answer.headers['location'] ?? '')
  return location.startsWith(path) ? await browser.get(location) : answer
}
