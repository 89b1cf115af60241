import { validate as isUuid } from 'uuid'
import { defineCommand, UsageError } from './command.ts'
import { withDatabase } from './database.ts'

export const end = defineCommand({
  usage: 'latchkey sessions end --all | --user ID [--json]',
  description: 'End sessions. Their refresh tokens become invalid at once. Their access tokens are revoked,' +
    ' as after a sign-out.',
  options: {
    all: { type: 'boolean', description: 'the sessions of all users' },
    user: { type: 'string', value: 'ID', description: 'the sessions of this user' }
  },
  plan: ({ all = false, user }) => {
    if (all === (user !== undefined)) throw new UsageError('Give either --all or --user.')
    if (user !== undefined && !isUuid(user)) throw new UsageError('--user must be the id of a user.')
    return async config => {
      const [{ endInBatches }, { forgetDevices }, { revokeEmailChanges }] = await Promise.all([
        import('../sessions/ending.ts'),
        import('../users/credential.ts'),
        import('../one-time-tokens/revocation.ts')
      ])
      const ended = await withDatabase(config, async db => {
        if (user !== undefined && !await forgetDevices(db, user)) throw new Error(`there is no user ${user}`)
        await revokeEmailChanges(db, user)
        return await endInBatches(db, user === undefined ? 'all' : { userId: user }, 'ended_by_operator', {})
      })
      return { text: `Ended ${ended} ${ended === 1 ? 'session' : 'sessions'}.`, data: { ended } }
    }
  }
})
