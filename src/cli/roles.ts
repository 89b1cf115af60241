import type { Config } from '../config/config.ts'
import { parse as parseEmail } from '../syntax/email-address.ts'
import { defineCommand, UsageError } from './command.ts'
import { withDatabase } from './database.ts'

/** The option that names roles. */
export const roleOption = {
  type: 'string',
  multiple: true,
  value: 'ROLE',
  description: 'a role; repeat the option, or separate roles with commas'
} as const

/** The roles of the option. Each may be a list. */
export const splitRoles = (lists: readonly string[]): string[] =>
  lists.flatMap(list => list.split(/[\s,]+/)).filter(role => role !== '')

/** Throws a UsageError unless the configuration defines all of these roles. */
export async function assertDefined ({ roles: defined }: Config, roles: readonly string[]): Promise<void> {
  const { areDefined } = await import('../syntax/roles.ts')
  if (!areDefined(defined, roles)) {
    throw new UsageError(`--role must be one of ${Object.keys(defined).join(', ')}.`)
  }
}

export const setRoles = defineCommand({
  usage: 'latchkey users set-roles --email EMAIL --role ROLE... [--email-verified] [--json]',
  description: 'Set the roles of an existing account, such as those of the first administrator. The ' +
    'account loses all other roles.',
  example: 'latchkey users set-roles --email ada@example.com --role user,admin',
  options: {
    email: { type: 'string', value: 'EMAIL', description: 'the email address of the account' },
    'email-verified': {
      type: 'boolean',
      description: 'mark the address as verified; only if the account belongs to the owner of the address'
    },
    role: roleOption
  },
  plan: ({ email, 'email-verified': isVerified = false, role = [] }) => {
    if (email === undefined) throw new UsageError('--email is required.')
    const address = parseEmail(email)
    if (!address) throw new UsageError('--email must be an email address.')
    const roles = splitRoles(role)
    if (roles.length === 0) throw new UsageError('--role must name at least one role.')
    return async config => {
      await assertDefined(config, roles)
      const [{ changeAccount }, { find }, { findOwner }] = await Promise.all([
        import('../accounts/administration.ts'), import('../users/listing.ts'), import('../users/users.ts')
      ])
      const change = { roles, ...isVerified && { email_verified: true } }
      const rules = { roles: config.roles, accessTokenSeconds: config.lifetimes.accessTokenSeconds }
      const user = await withDatabase(config, async db => {
        const owner = await findOwner(db, address.canonical)
        const found = owner && await find(db, owner.id)
        if (!found) return undefined
        // Anyone can sign up with an address that is not theirs.
        if (!found.email_verified && !isVerified) {
          throw new Error('The address of this account is not verified, so the account may be another ' +
            'person\'s. If you know that it is not, add --email-verified.')
        }
        return await changeAccount(db, { id: found.id, change, rules }, {})
      })
      if (!user) throw new Error('There is no account with this email address.')
      return { text: `The account ${user.id} has the roles ${user.roles.join(', ')}.`, data: user }
    }
  }
})
