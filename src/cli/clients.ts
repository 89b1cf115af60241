import type { Client } from '../clients/service-clients.ts'
import { scopeSyntax } from '../syntax/scope.ts'
import { defineCommand, UsageError } from './command.ts'
import { withDatabase } from './database.ts'
import { formatTable, formatTime } from './table.ts'

const maxScopes = 50
const pageLimit = 100

export const create = defineCommand({
  usage: 'latchkey clients create --name NAME --scope SCOPE... [--json]',
  description: 'Create a client: a service with its own tokens. The secret is shown only once.',
  example: 'latchkey clients create --name Orders --scope introspect,revocations',
  options: {
    name: { type: 'string', value: 'NAME', description: 'its name, 1 to 100 characters' },
    scope: {
      type: 'string',
      multiple: true,
      value: 'SCOPE',
      description: 'the scopes that the client can request; repeat it, or separate them with commas'
    }
  },
  plan: ({ name = '', scope = [] }) => {
    const scopes = scope.flatMap(list => list.split(/[\s,]+/)).filter(each => each !== '')
    if (!/^[^\p{Cc}\p{Cs}]{1,100}$/u.test(name)) {
      throw new UsageError('--name must have 1 to 100 characters, and no control characters.')
    }
    if (scopes.length === 0 || scopes.length > maxScopes) {
      throw new UsageError(`--scope must name 1 to ${maxScopes} scopes.`)
    }
    const malformed = scopes.find(each => !scopeSyntax.test(each))
    if (malformed !== undefined) {
      throw new UsageError(`"${malformed}" is not a scope (RFC 6749 appendix A.4).`)
    }
    return async config => {
      const clients = await import('../clients/service-clients.ts')
      const client = await withDatabase(config, async db => await clients.create(db, { name, scopes }, {}))
      const lines = [
        `Client id:      ${client.client_id}`,
        `Client secret:  ${client.client_secret}`,
        'The secret is not shown again.'
      ]
      return { text: lines.join('\n'), data: client }
    }
  }
})

export const list = defineCommand({
  usage: 'latchkey clients list [--json]',
  description: 'List the clients.',
  options: {},
  plan: () => async config => {
    const clients = await import('../clients/service-clients.ts')
    const items: Client[] = []
    await withDatabase(config, async db => {
      let page: Client[]
      do {
        page = await clients.list(db, { before: items.at(-1)?.client_id, limit: pageLimit })
        items.push(...page)
      } while (page.length === pageLimit)
    })
    const rows = items.map(({ client_id: id, name, scopes, created_at: createdAt }) =>
      [id, name, scopes.join(' '), formatTime(createdAt)])
    return { text: formatTable(['ID', 'NAME', 'SCOPES', 'CREATED'], rows), data: { items } }
  }
})
