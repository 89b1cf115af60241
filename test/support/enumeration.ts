import { createHash, pbkdf2Sync, randomBytes } from 'node:crypto'
import * as argon2id from '../../src/passwords/argon2id.ts'
import { newUser, type Service } from './app.ts'
import { post } from './concurrency.ts'
import { importedHashes } from './imported-hashes.ts'

// The requests with which an attacker finds out whether an account exists (account enumeration).

export const register = '/v1/auth/register'
export const login = '/v1/auth/login'
export const wrongPassword = 'not the password'
const base64 = (bytes: Buffer) => bytes.toString('base64').replaceAll('=', '')

// Password hashes in other formats or with lower costs than new ones. None takes longer to verify than a new
// hash. More expensive ones (such as bcrypt with a cost of 10) are distinguishable until the owner signs in.
const zeros = Buffer.alloc(16)
const hashes: Record<string, () => string | Promise<string> | null> = {
  'no password': () => null,
  'a hash of less work': async () =>
    await argon2id.hash('older', { memoryKib: 4096, timeCost: 1, parallelism: 1 }),
  'a hash of argon2i': () =>
    '$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8',
  'a hash of bcrypt': () => '$2b$06$TArzT37JtOFyMApJrYQ67.o0g/n1SmflX8V26E2PJTims2hTcUCrO',
  'a hash of SHA-512-crypt': () =>
    '$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEOfaS35inz1',
  'a hash of PBKDF2': () =>
    ['$pbkdf2-sha256$1000', base64(zeros), base64(pbkdf2Sync('older', zeros, 1000, 32, 'sha256'))].join('$'),
  'a hash of scrypt': () => importedHashes['scrypt']?.[0] ?? null,
  'a salted digest': () => {
    const digest = createHash('sha512').update('older').update('salt').digest()
    return `{SSHA512}${Buffer.concat([digest, Buffer.from('salt')]).toString('base64')}`
  }
}

/** A request whose response or time may reveal whether an account exists. */
export interface Question {
  what: string
  /** Creates a new body each time. */
  body: () => object
  /** Whether the account has a hash in another format or with a lower cost than a new one, or none. */
  hasOtherHash?: boolean
}
/**
 * A list of questions for one route. The first names no account. The others must get the same responses as
 * the first one (`hasSameText`), in the same time (`hasSameTime`).
 */
export interface Flow {
  what: string
  path: string
  hasSameText: boolean
  hasSameTime: boolean
  /** The statuses of the responses when a question is repeated. */
  statuses: number[]
  questions: Question[]
}

const refusals = [401, 401, 401, 429, 429]
const fiveTimes = (status: number) => Array<number>(5).fill(status)
export const linkRoutes = {
  'a password reset': '/v1/auth/password-reset',
  'a link to verify an address': '/v1/auth/email-verification',
  'a link to sign in': '/v1/auth/magic-link'
}

const newUsername = () => `user.${randomBytes(6).toString('hex')}`

/** Creates accounts of every kind, and returns the flows that ask about them. */
export async function apiFlows ({ sql }: Service, origin: string): Promise<Flow[]> {
  const account = async (what: string, change: string, ...values: unknown[]) => {
    const user = { ...newUser(), username: newUsername() }
    await post(origin, register, user)
    await sql(`update users set ${change} where email = $1`, [user.email, ...values])
    return { what, ...user }
  }
  const known = await account('an account', 'name = null')
  const disabled = await account('a disabled account', 'disabled_at = now()')
  const verified = await account('an account', 'email_verified_at = now()')
  const withUnknownHash = await account(
    'an account with a hash of unknown format',
    "password_hash = '$unknown$AAAA'"
  )
  const withOtherHashes = []
  for (const [what, hash] of Object.entries(hashes)) {
    withOtherHashes.push(await account(`an account with ${what}`, 'password_hash = $2', await hash()))
  }
  const unknownAddress = {
    what: 'an unknown address',
    body: () => ({ email: newUser().email, password: wrongPassword })
  }
  const byAddress = ({ what, email }: { what: string; email: string }) => ({
    what,
    body: () => ({ email, password: wrongPassword })
  })
  const rejectedPassword = 'password1'
  return [
    {
      what: 'signing in',
      path: login,
      statuses: refusals,
      hasSameText: true,
      hasSameTime: true,
      questions: [
        unknownAddress,
        { what: 'an unknown username', body: () => ({ username: newUsername(), password: wrongPassword }) },
        { what: 'a username', body: () => ({ username: known.username, password: wrongPassword }) },
        ...[known, disabled].map(byAddress),
        ...withOtherHashes.map(account => ({ ...byAddress(account), hasOtherHash: true }))
      ]
    },
    {
      what: 'signing in with malformed values',
      path: login,
      statuses: refusals,
      hasSameText: true,
      hasSameTime: false,
      questions: [
        unknownAddress,
        {
          what: 'a malformed address',
          body: () => ({ email: `not an address ${newUsername()}`, password: wrongPassword })
        },
        {
          what: 'a malformed username',
          body: () => ({ username: `💥 ${newUsername()}`, password: wrongPassword })
        },
        {
          what: 'a username in upper case',
          body: () => ({ username: known.username.toUpperCase(), password: wrongPassword })
        },
        {
          what: 'a password that is too long',
          body: () => ({ email: known.email, password: 'x'.repeat(1_000) })
        },
        { what: 'a lone surrogate', body: () => ({ email: known.email, password: '\ud83d' }) },
        byAddress(withUnknownHash)
      ]
    },
    {
      what: 'registering with a rejected password',
      path: register,
      statuses: fiveTimes(422),
      hasSameText: true,
      // Nothing is hashed, so the difference in time is too small to be observed over a network.
      hasSameTime: false,
      questions: [
        { what: 'an unknown address', body: () => ({ email: newUser().email, password: rejectedPassword }) },
        { what: 'a taken address', body: () => ({ email: known.email, password: rejectedPassword }) },
        {
          what: 'a taken username',
          body: () => ({ email: newUser().email, username: known.username, password: rejectedPassword })
        }
      ]
    },
    {
      what: 'registering',
      path: register,
      statuses: fiveTimes(201),
      // Without REQUIRE_EMAIL_VERIFICATION, the status reveals taken addresses. A new account takes longer.
      hasSameText: false,
      hasSameTime: false,
      questions: [
        { what: 'an unknown address', body: () => newUser() },
        { what: 'a taken address', body: () => ({ ...newUser(), email: known.email }) }
      ]
    },
    {
      what: 'registering a taken address or username',
      path: register,
      statuses: fiveTimes(409),
      // The code names the address or the username. The time reveals nothing more.
      hasSameText: false,
      hasSameTime: true,
      questions: [
        { what: 'a taken address', body: () => ({ ...newUser(), email: known.email }) },
        { what: 'an address of a disabled account', body: () => ({ ...newUser(), email: disabled.email }) },
        { what: 'a taken username', body: () => ({ ...newUser(), username: known.username }) }
      ]
    },
    ...Object.entries(linkRoutes).map(([what, path]) => ({
      what: `requesting ${what}`,
      path,
      statuses: fiveTimes(202),
      hasSameText: true,
      hasSameTime: true,
      questions: [
        unknownAddress,
        ...[known, disabled].map(byAddress),
        { what: 'a verified address', body: () => ({ email: verified.email, password: wrongPassword }) }
      ].map(({ what, body }) => ({ what, body: () => ({ email: body().email }) }))
    }))
  ]
}

/** Returns the flows with REQUIRE_EMAIL_VERIFICATION. Then not even a registration reveals an account. */
export async function secretApiFlows ({ sql }: Service, origin: string): Promise<Flow[]> {
  const taken = newUser()
  await post(origin, register, taken)
  const pending = newUser()
  await post(origin, register, pending)
  const [{ email, password_hash: hash } = {}] = await sql<{ email: string; password_hash: string }>(
    'select email, password_hash from pending_registrations where email = $1',
    [taken.email]
  )
  await sql(
    `insert into users (id, email, canonical_email, password_hash, email_verified_at)
    values (gen_random_uuid(), $1, $1, $2, now())`,
    [email, hash]
  )
  const unverified = newUser()
  await sql(
    'insert into users (id, email, canonical_email, password_hash) values (gen_random_uuid(), $1, $1, $2)',
    [unverified.email, hash]
  )
  const kinds = [
    { what: 'a taken address', email: taken.email },
    { what: 'an address of a pending registration', email: pending.email },
    { what: 'an unverified address of an account', email: unverified.email }
  ]
  return [
    {
      what: 'registering if addresses must be verified',
      path: register,
      statuses: fiveTimes(202),
      hasSameText: true,
      hasSameTime: true,
      questions: [
        { what: 'an unknown address', body: () => newUser() },
        ...kinds.map(({ what, email }) => ({ what, body: () => ({ ...newUser(), email }) }))
      ]
    },
    {
      what: 'signing in if addresses must be verified',
      path: login,
      statuses: refusals,
      hasSameText: true,
      hasSameTime: true,
      questions: [
        { what: 'an unknown address', body: () => ({ email: newUser().email, password: wrongPassword }) },
        ...kinds.map(({ what, email }) => ({ what, body: () => ({ email, password: wrongPassword }) }))
      ]
    },
    {
      what: 'requesting another link to verify an address',
      path: linkRoutes['a link to verify an address'],
      statuses: fiveTimes(202),
      hasSameText: true,
      hasSameTime: true,
      questions: [
        { what: 'an unknown address', body: () => ({ email: newUser().email }) },
        ...kinds.map(({ what, email }) => ({ what, body: () => ({ email }) }))
      ]
    }
  ]
}
