import { text } from 'node:stream/consumers'
import type { Config } from '../config/config.ts'
import type { Database } from '../database/database.ts'
import { parse as parseEmail } from '../syntax/email-address.ts'
import type { Pepper } from '../crypto/secret-keys.ts'
import { Problem } from '../http/problem.ts'
import { command, UsageError } from './command.ts'
import { withDatabase } from './database.ts'

export const create = command({
  usage: 'latchkey users create --email EMAIL [--role ROLE...] [--password-stdin] [--json]',
  meaning: 'Make an account, as the first administrator. Without a password it tells a link to set one.',
  options: {
    email: { type: 'string', value: 'EMAIL', meaning: 'the address' },
    'email-verified': { type: 'boolean', meaning: 'the address is known to be the user\'s, as it is with a password' },
    name: { type: 'string', value: 'NAME', meaning: 'what to call the user' },
    username: { type: 'string', value: 'NAME', meaning: '3 to 32 of the characters a-z, 0-9, _, . and -' },
    role: { type: 'string', multiple: true, value: 'ROLE', meaning: 'the roles, instead of "user"; several times, or comma separated' },
    'password-stdin': { type: 'boolean', meaning: 'read the password from standard input' }
  },
  plan: ({ email = '', 'email-verified': verified = false, name, username, role = [], 'password-stdin': asked = false }) => {
    if (!parseEmail(email)) throw new UsageError('--email must be an e-mail address.')
    if (name !== undefined && !/^[^\p{Cc}\p{Cs}]{1,200}$/u.test(name)) throw new UsageError('--name must have 1 to 200 characters, and no control characters.')
    const roles = role.flatMap(list => list.split(/[\s,]+/)).filter(each => each !== '')
    return async config => {
      const [{ parseUsername }, { allowed }, { create, newInvitation }, { linkOf }] = await Promise.all([
        import('../users/users.ts'), import('../syntax/roles.ts'), import('../accounts/administration.ts'), import('../mail/link-url.ts')
      ])
      if (username !== undefined && parseUsername(username) === undefined) throw new UsageError('--username must be 3 to 32 of the characters a-z, 0-9, _, . and -.')
      if (!allowed(config.roles, roles)) throw new UsageError(`--role must be one of ${Object.keys(config.roles).join(', ')}.`)
      // As a shell writes it: the end of the line is none of it.
      const password = asked ? (await text(process.stdin)).replace(/\r?\n$/, '') : undefined
      const invitation = newInvitation(config.links)
      const user = await withDatabase(config, async db => await create(db, await hashing(config, db), {
        email,
        // Whoever sets a password from here vouches for whom they set it.
        email_verified: verified || asked,
        ...name !== undefined && { name },
        ...username !== undefined && { username },
        ...roles.length > 0 && { roles },
        ...password !== undefined && { password }
      }, invitation, { roles: config.roles, accessToken: config.lifetimes.accessToken }, {})).catch((error: unknown) => {
        throw error instanceof Problem && error.code === 'password_rejected' ? new Error(`The password is refused: ${String(error.members['reasons'])}.`) : error
      })
      const link = password === undefined ? linkOf(config.mail.linksUrl, { kind: 'invitation', token: invitation.token }) : undefined
      return {
        text: `User id:  ${user.id}${link === undefined ? '' : `\nTheir password is set with this link, once and within ${Math.round(invitation.lives / 360) / 10} hours:\n${link}`}`,
        data: { ...user, ...link !== undefined && { link } }
      }
    }
  }
})

/** What judges and hashes a password as a registration does, with the pepper where there is one. */
async function hashing ({ passwords: { pepper, breachedPasswordsUrl, ...options }, serviceName, issuer, ...config }: Config, db: Database) {
  const [{ passwords }, { breaches }, { loadKeyring }, { keyEncryptionKeys }] = await Promise.all([
    import('../passwords/passwords.ts'), import('../passwords/breached-passwords.ts'), import('../tokens/keyring.ts'), import('../config/key-encryption.ts')
  ])
  const peppers = pepper ? (await loadKeyring(db, keyEncryptionKeys(config))).peppers : new Map<string, Pepper>()
  const warn = (message: string) => { process.stderr.write(`${message}\n`) }
  return await passwords({ ...options, serviceName, issuer }, {
    peppers: { current: () => [...peppers.values()][0], find: async kid => peppers.get(kid) },
    isBreached: breaches({
      url: breachedPasswordsUrl,
      onFailure: () => warn('Breached passwords could not be asked for: the password is accepted without.'),
      onRecovery: () => {}
    })
  }, warn)
}
