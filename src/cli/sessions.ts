import { validate as isUuid } from 'uuid'
import { command, UsageError } from './command.ts'
import { withDatabase } from './database.ts'

export const end = command({
  usage: 'latchkey sessions end --all | --user ID [--json]',
  meaning: 'End sessions for good: their refresh tokens at once, their access tokens as a sign-out does.',
  options: {
    all: { type: 'boolean', meaning: 'those of everybody' },
    user: { type: 'string', value: 'ID', meaning: 'those of this user' }
  },
  plan: ({ all = false, user }) => {
    if (all === (user !== undefined)) throw new UsageError('Either --all or --user must be given.')
    if (user !== undefined && !isUuid(user)) throw new UsageError('--user must be the id of a user.')
    return async config => {
      const [{ endInBatches }, { forgetDevices }, { voidChanges }] = await Promise.all([
        import('../sessions/ending.ts'), import('../users/credential.ts'), import('../one-time-tokens/one-time-tokens.ts')
      ])
      const ended = await withDatabase(config, async db => {
        if (user !== undefined && !await forgetDevices(db, user)) throw new Error(`there is no user ${user}`)
        await voidChanges(db, user)
        return await endInBatches(db, user, 'ended_by_operator', {})
      })
      return { text: `Ended ${ended} ${ended === 1 ? 'session' : 'sessions'}.`, data: { ended } }
    }
  }
})
