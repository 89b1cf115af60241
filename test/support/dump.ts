import type { Service } from './app.ts'

/**
 * Returns all rows of all tables of the service's database as text. Binary columns appear in each form in
 * which they could hide a text.
 */
export async function dump ({ sql }: Service): Promise<string> {
  const columns = await sql<{ table: string; column: string; type: string }>(`
    select table_name as table, column_name as column, data_type as type
    from information_schema.columns join information_schema.tables using (table_schema, table_name)
    where table_schema = 'public' and table_type = 'BASE TABLE' order by 1, ordinal_position`)
  const tables = [...new Set(columns.map(({ table }) => table))]
  const pages = await Promise.all(tables.map(async table => {
    const binary = columns
      .filter(column => column.table === table && column.type === 'bytea')
      .map(({ column }) => `encode("${column}", 'escape')`)
    const rows = await sql<{ row: string }>(
      `select concat_ws(' ', ${['held::text', ...binary].join(', ')}) as row from "${table}" as held`
    )
    return rows.map(({ row }) => `${table} ${row}`)
  }))
  return pages.flat().join('\n').toLowerCase()
}

/** The forms in which a text may be stored. */
export function encodingsOf (text: string): string[] {
  const bytes = Buffer.from(text)
  // In the middle of a longer text, base64 has one of three forms.
  const base64 = [0, 1, 2].map(shift =>
    Buffer.concat([Buffer.alloc(shift), bytes])
      .toString('base64')
      .slice(Math.ceil((shift * 4) / 3), Math.floor(((shift + bytes.length) * 4) / 3))
  )
  return [
    ...new Set(
      [
        text,
        text.normalize('NFD'),
        bytes.toString('hex'),
        ...base64,
        ...base64.map(each => each.replaceAll('+', '-').replaceAll('/', '_')),
        encodeURIComponent(text),
        JSON.stringify(text).slice(1, -1)
      ].map(each => each.toLowerCase())
    )
  ]
}
