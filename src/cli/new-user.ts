import assert from 'node:assert/strict'
import { text } from 'node:stream/consumers'
import type { Config } from '../config/config.ts'
import { linksUrlOf } from '../config/served-issuer.ts'
import type { Pepper } from '../crypto/secret-keys.ts'
import type { Database } from '../database/database.ts'
import { Problem } from '../http/problem.ts'
import { parse as parseEmail } from '../syntax/email-address.ts'
import { defineCommand, UsageError } from './command.ts'
import { withDatabase } from './database.ts'
import { assertDefined, roleOption, splitRoles } from './roles.ts'

const hourSeconds = 3_600

export const create = defineCommand({
  usage: 'latchkey users create --email EMAIL [--role ROLE...] [--password-stdin] [--json]',
  description: 'Create an account, such as the first administrator. Without a password, print a link to ' +
    'set one.',
  example: 'latchkey users create --email ada@example.com --role user,admin',
  options: {
    email: { type: 'string', value: 'EMAIL', description: 'the email address' },
    'email-verified': {
      type: 'boolean', description: 'mark the address as verified; a password implies it'
    },
    name: { type: 'string', value: 'NAME', description: 'the name of the user' },
    username: {
      type: 'string', value: 'NAME', description: '3 to 32 of the characters a-z, 0-9, _, . and -'
    },
    role: { ...roleOption, description: `${roleOption.description}; "user" by default` },
    'password-stdin': { type: 'boolean', description: 'read the password from standard input' }
  },
  plan: options => {
    const { email, 'email-verified': isVerified = false, name, username, role = [] } = options
    const { 'password-stdin': readsPassword = false } = options
    if (email === undefined) throw new UsageError('--email is required.')
    if (!parseEmail(email)) throw new UsageError('--email must be an email address.')
    if (name !== undefined && !/^[^\p{Cc}\p{Cs}]{1,200}$/u.test(name)) {
      throw new UsageError('--name must have 1 to 200 characters, and no control characters.')
    }
    const roles = splitRoles(role)
    return async config => {
      const [
        { parseUsername }, { createAccount, newInvitation }, { linkUrl }, { mailKinds }
      ] = await Promise.all([
        import('../users/users.ts'),
        import('../accounts/administration.ts'),
        import('../mail/link-url.ts'),
        import('../capabilities.ts')
      ])
      if (username !== undefined && parseUsername(username) === undefined) {
        throw new UsageError('--username must be 3 to 32 of the characters a-z, 0-9, _, . and -.')
      }
      await assertDefined(config, roles)
      // The shell appends a line end.
      const password = readsPassword ? (await text(process.stdin)).replace(/\r?\n$/, '') : undefined
      const invitation = newInvitation(config.links)
      const account = {
        email,
        // An operator who sets a password vouches for its user.
        email_verified: isVerified || readsPassword,
        ...name !== undefined && { name },
        ...username !== undefined && { username },
        ...roles.length > 0 && { roles },
        ...password !== undefined && { password }
      }
      const rules = { roles: config.roles, accessTokenSeconds: config.lifetimes.accessTokenSeconds }
      const user = await withDatabase(config, async db => {
        const passwords = await loadPasswords(config, db)
        return await createAccount({ db, passwords }, { account, invitation, rules }, { origin: {} })
      }).catch((error: unknown) => { throw explain(error) })
      const { token, lives } = invitation
      const page = mailKinds.get('invitation')?.page
      assert(page !== undefined)
      const linksUrl = linksUrlOf(config)
      const link = password === undefined ? linkUrl({ linksUrl, page }, token) : undefined
      const hours = Math.round(lives / (hourSeconds / 10)) / 10
      const lines = [
        `User id:  ${user.id}`,
        ...link === undefined
          ? []
          : [`Open this link within ${hours} hours to set the password. It works once:`, link]
      ]
      return { text: lines.join('\n'), data: { ...user, ...link !== undefined && { link } } }
    }
  }
})

function explain (error: unknown): unknown {
  if (!(error instanceof Problem)) return error
  // Its detail says what is wrong.
  if (error.code === 'password_rejected') return new Error(error.message)
  if (error.code === 'email_taken') {
    return new Error('An account with this email address exists. To give it roles, run ' +
      '`latchkey users set-roles`.')
  }
  return error
}

/** Loads what validates and hashes a password, as for a registration, with the pepper if there is one. */
async function loadPasswords (config: Config, db: Database) {
  const { passwords: { hasPepper, breachedPasswordsUrl, ...options }, serviceName, issuer } = config
  const [
    { createPasswords }, { breachedPasswordLookup }, { loadKeyring }, { keyEncryptionKeys }
  ] = await Promise.all([
    import('../passwords/passwords.ts'),
    import('../passwords/breached-passwords.ts'),
    import('../tokens/keyring.ts'),
    import('../config/key-encryption.ts')
  ])
  const peppers = hasPepper
    ? (await loadKeyring(db, keyEncryptionKeys(config))).peppers
    : new Map<string, Pepper>()
  const warn = (message: string) => { process.stderr.write(`${message}\n`) }
  return await createPasswords({ ...options, serviceName, issuer }, {
    peppers: { current: () => [...peppers.values()][0], find: async kid => peppers.get(kid) },
    isBreached: breachedPasswordLookup({
      url: breachedPasswordsUrl,
      onFailure: () => warn(
        'Breached passwords cannot be looked up. The password is accepted without that check.'
      ),
      onRecovery: () => {}
    })
  }, warn)
}
