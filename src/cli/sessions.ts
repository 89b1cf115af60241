import { validate as isUuid } from 'uuid'
import { parse as parseEmail } from '../syntax/email-address.ts'
import { defineCommand, UsageError } from './command.ts'
import { withDatabase } from './database.ts'

export const end = defineCommand({
  usage: 'latchkey sessions end --all | --user USER [--json]',
  description: 'End sessions. Their refresh tokens become invalid at once. Their access tokens are revoked,' +
    ' as after a sign-out.',
  options: {
    all: { type: 'boolean', description: 'the sessions of all users' },
    user: {
      type: 'string', value: 'USER', description: 'the sessions of the user with this id or email address'
    }
  },
  plan: ({ all = false, user }) => {
    if (all === (user !== undefined)) throw new UsageError('Give either --all or --user.')
    const address = user === undefined ? undefined : parseEmail(user)
    if (user !== undefined && !isUuid(user) && !address) {
      throw new UsageError('--user must be the id or the email address of a user.')
    }
    return async config => {
      const [{ endInBatches }, { forgetDevices }, { revokeEmailChanges }, { findOwner }] = await Promise.all([
        import('../sessions/ending.ts'),
        import('../users/credential.ts'),
        import('../one-time-tokens/revocation.ts'),
        import('../users/users.ts')
      ])
      const ended = await withDatabase(config, async db => {
        const userId = address ? (await findOwner(db, address.canonical))?.id : user
        const isKnown = userId !== undefined && await forgetDevices(db, userId)
        if (user !== undefined && !isKnown) throw new Error(`there is no user ${user}`)
        await revokeEmailChanges(db, userId)
        return await endInBatches(db, userId === undefined ? 'all' : { userId }, 'ended_by_operator', {})
      })
      return { text: `Ended ${ended} ${ended === 1 ? 'session' : 'sessions'}.`, data: { ended } }
    }
  }
})
