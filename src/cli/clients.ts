import type { Client } from '../clients/records.ts'
import { defineCommand } from './command.ts'
import { withDatabase } from './database.ts'
import { formatTable, formatTime } from './table.ts'

const pageLimit = 100

export const list = defineCommand({
  usage: 'latchkey clients list [--json]',
  description: 'List the clients.',
  options: {},
  plan: () => async config => {
    const [clients, { present }] = await Promise.all([
      import('../clients/clients.ts'), import('../clients/records.ts')
    ])
    const items: Client[] = []
    await withDatabase(config, async db => {
      let page: Client[]
      do {
        page = await clients.list(db, { before: items.at(-1)?.client_id, limit: pageLimit })
        items.push(...page)
      } while (page.length === pageLimit)
    })
    const headings = ['ID', 'NAME', 'GRANTS', 'SCOPES', 'REDIRECT URIS', 'CREATED']
    const rows = items.map(client => [
      client.client_id, client.name, client.grant_types.join(' '), client.scopes.join(' '),
      client.redirect_uris.join(' ') || '-', formatTime(client.created_at)
    ])
    return { text: formatTable(headings, rows), data: { items: items.map(present) } }
  }
})
