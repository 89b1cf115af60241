import type { PrivilegeReport } from '../database/privileges/repair.ts'
import { defineCommand } from './command.ts'
import { withUrl } from './database.ts'

export const migrate = defineCommand({
  usage: 'latchkey migrate [--json]',
  description: 'Update the database schema, with the role of DATABASE_OWNER_URL if it is set.',
  options: {},
  plan: () => async config => {
    const [{ migrate }, { describeFinding }] = await Promise.all([
      import('../database/migrate.ts'), import('../database/privileges/finding.ts')
    ])
    let report: PrivilegeReport | undefined
    const applied = await withUrl(config, async url => await migrate(url, undefined, {
      directUrl: config.databaseDirectUrl,
      ownerUrl: config.databaseOwnerUrl,
      onPrivileges: found => { report = found }
    }))
    const { repaired = [], remaining = [] } = report ?? {}
    const data = {
      applied, repaired: repaired.map(describeFinding), remaining: remaining.map(describeFinding)
    }
    const lines = [
      applied.length > 0 ? `Applied ${applied.join(', ')}.` : 'The database schema is up to date.',
      ...data.repaired.map(({ object, problem }) => `Repaired: ${object}: ${problem}.`),
      ...data.remaining.map(({ object, problem, sql }) =>
        `Not repaired: ${object}: ${problem}. Run as its owner or as a superuser: ${sql};`)
    ]
    return { text: lines.join('\n'), data }
  }
})
