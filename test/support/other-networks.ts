import { setMaxListeners } from 'node:events'
import type { Answer } from './client.ts'
import { build, newUser, type Service } from './app.ts'

/** The default limits, behind a trusted proxy: a test can send requests from any address. */
export const defaultLimits = {
  TRUST_PROXY: '127.0.0.1',
  LOGIN_RATE_LIMIT: '5/15m',
  LOGIN_NETWORK_LIMIT: '50/15m',
  LOGIN_ACCOUNT_LIMIT: '100/24h'
}
/** Without limits of failed sign-ins. */
export const withoutLimits = {
  LOGIN_RATE_LIMIT: 'off', LOGIN_NETWORK_LIMIT: 'off', LOGIN_ACCOUNT_LIMIT: 'off'
}

let networks = 0
/** An address that nothing else in this process uses. */
export const newAddress = () => {
  networks++
  return `203.0.${networks >> 8 & 255}.${networks & 255}`
}
export const forwardedFor = (address: string) => ({ 'x-forwarded-for': address })

export const statuses = (answers: Answer[]) => answers.map(({ status }) => status)

export async function inSequence<T> (count: number, work: (index: number) => Promise<T>): Promise<T[]> {
  const results: T[] = []
  for (let i = 0; i < count; i++) results.push(await work(i))
  return results
}

/** Registers a user from a network of their own. Its browser is signed in, and its device is known. */
export async function registerFromNewNetwork (service: Service, attributes: object = {}) {
  const browser = service.browser()
  const credentials = newUser()
  const registration = { ...credentials, ...attributes }
  const { body } = await browser.post('/v1/auth/register', registration, forwardedFor(newAddress()))
  browser.accessToken = body.access_token
  const device = browser.jar.get('device_3000') ?? ''
  return { ...credentials, browser, device, id: body.user.id as string }
}
export type UserOfOwnNetwork = Awaited<ReturnType<typeof registerFromNewNetwork>>

type PasswordGuess = { email: string, password?: string } | { username: string }

/** A sign-in from an unknown device, with a wrong password unless one is given. */
export const guessPassword = async ({ browser }: Service, login: PasswordGuess, address = newAddress()) =>
  await browser().post('/v1/auth/login', { password: 'not the password', ...login }, forwardedFor(address))

/** Ages all counted failures. */
export const passTime = async ({ sql }: Service, seconds: number) =>
  await sql(`
    update login_throttles set
      counted_at = counted_at - make_interval(secs => $1),
      waits_until = waits_until - make_interval(secs => $1),
      expires_at = expires_at - make_interval(secs => $1)`, [seconds])

/** Another instance on the database of a service. */
export const secondInstance = async (
  t: Parameters<typeof build>[0], { url }: Service, environment: Parameters<typeof build>[1]
) => await build(t, environment, { url })

/**
 * Fills the hashing queue of a service with a concurrency of two, from as many networks. Returns what empties
 * it.
 */
export function fillHashingQueue ({ queue }: Service['app']['passwords']) {
  const leaving = new AbortController()
  setMaxListeners(0, leaving.signal)
  const ends: Array<() => void> = []
  const turns: Array<Promise<unknown>> = []
  while (ends.length < 2) turns.push(queue.run(() => new Promise<void>(resolve => { ends.push(resolve) })))
  for (let i = 0; i < 600; i++) {
    turns.push(queue.run(async () => {}, { network: `${i}`, signal: leaving.signal }).catch(() => {}))
  }
  return async () => {
    leaving.abort('the queue is emptied')
    for (const end of ends) end()
    await Promise.all(turns)
  }
}
