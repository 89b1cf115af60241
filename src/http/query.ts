// Ajv's own coercion of types is not used: it takes "" for 0, "1e3" for 1000 and 1 for true, and each
// parameter would have several spellings.

/** Converts the parameters of a query, which are text, to the types of their schema, in place. */
export type QueryParser = (query: unknown) => void

// Nine digits fit into 32 bits, and no parameter needs more.
const maxDigits = 9
const decimal = new RegExp(`^[0-9]{1,${maxDigits}}$`)
const booleans = new Map([['true', true], ['false', false]])

/**
 * The parser for queries of this JSON schema. An integer is decimal digits, a boolean is `true` or `false`.
 * Any other text stays text, which the validation by the schema refuses. A time keeps the plus sign of its
 * offset, even if the query does not encode it.
 */
export function queryParser (schema: unknown): QueryParser {
  const properties: Record<string, unknown> = Object(Object(schema).properties)
  const parsers = Object.entries(properties).flatMap(([name, property]) => {
    const parse = parserOf(Object(property))
    return parse ? [[name, parse] as const] : []
  })
  return query => {
    const values: Record<string, unknown> = Object(query)
    for (const [name, parse] of parsers) {
      const text = values[name]
      if (typeof text === 'string') values[name] = parse(text)
    }
  }
}

function parserOf ({ type, format }: Record<string, unknown>): ((text: string) => unknown) | undefined {
  if (format === 'date-time') return text => text.replace(/ (?=\d\d:\d\d$)/, '+')
  if (type === 'integer' || type === 'number') return text => decimal.test(text) ? Number(text) : text
  if (type === 'boolean') return text => booleans.get(text) ?? text
  return undefined
}
