import type { Client } from '../clients/service-clients.ts'
import { scopeSyntax } from '../syntax/scope.ts'
import { command, UsageError } from './command.ts'
import { withDatabase } from './database.ts'
import { table, time } from './table.ts'

export const create = command({
  usage: 'latchkey clients create --name NAME --scope SCOPE... [--json]',
  meaning: 'Make a client, a service that acts for itself. Its secret is shown this once.',
  options: {
    name: { type: 'string', value: 'NAME', meaning: 'what to call it, in 1 to 100 characters' },
    scope: { type: 'string', multiple: true, value: 'SCOPE', meaning: 'what its tokens may be for, and what it may do here; several times, or comma separated' }
  },
  plan: ({ name = '', scope = [] }) => {
    const scopes = scope.flatMap(list => list.split(/[\s,]+/)).filter(each => each !== '')
    if (!/^[^\p{Cc}\p{Cs}]{1,100}$/u.test(name)) throw new UsageError('--name must have 1 to 100 characters, and no control characters.')
    if (scopes.length === 0 || scopes.length > 50) throw new UsageError('--scope must name 1 to 50 scopes.')
    const bad = scopes.find(each => !scopeSyntax.test(each))
    if (bad !== undefined) throw new UsageError(`"${bad}" is not a scope (RFC 6749 appendix A.4).`)
    return async config => {
      const clients = await import('../clients/service-clients.ts')
      const client = await withDatabase(config, async db => await clients.create(db, { name, scopes }, {}))
      return { text: `Client id:      ${client.client_id}\nClient secret:  ${client.client_secret}\nThe secret is not shown again.`, data: client }
    }
  }
})

export const list = command({
  usage: 'latchkey clients list [--json]',
  meaning: 'List the clients.',
  options: {},
  plan: () => async config => {
    const clients = await import('../clients/service-clients.ts')
    const items: Client[] = []
    const limit = 100
    await withDatabase(config, async db => {
      for (let page: Client[] | undefined; !page || page.length === limit; items.push(...page)) page = await clients.list(db, { before: items.at(-1)?.client_id, limit })
    })
    const rows = items.map(({ client_id: id, name, scopes, created_at: created }) => [id, name, scopes.join(' '), time(created)])
    return { text: table(['ID', 'NAME', 'SCOPES', 'CREATED'], rows), data: { items } }
  }
})
