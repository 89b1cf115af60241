// Rewrites the API document, which is OpenAPI 3.1, as OpenAPI 3.0.3, for generators that stop there. It knows
// the features of 3.1 that the document uses. The linter finds any other.

interface DialectSchema {
  $ref?: string
  type?: string | string[]
  enum?: unknown[]
  anyOf?: DialectSchema[]
  examples?: unknown[]
  [keyword: string]: unknown
}
type JsonObject = Record<string, unknown>

const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null
const mapValues = <From, To>(object: Record<string, From>, map: (value: From, name: string) => To) =>
  Object.fromEntries(Object.entries(object).map(([name, value]) => [name, map(value, name)]))

/** Returns the document as OpenAPI 3.0.3. */
export function toOpenapi30 (document: JsonObject): JsonObject {
  const { info, ...rest } = document
  const { summary, license, ...about } = Object(info)
  const { name, identifier } = Object(license)
  return {
    ...convert(rest) as JsonObject,
    openapi: '3.0.3',
    info: { ...about, license: { name, url: `https://spdx.org/licenses/${identifier}.html` } }
  }
}

/** Converts what is outside schemas: only the schemas in it change. */
function convert (value: unknown, key = '', parent = ''): unknown {
  if (Array.isArray(value)) return value.map(item => convert(item))
  if (!isObject(value) || key === 'example' || key === 'examples') return value
  if (key === 'schema') return convertSchema(value)
  if (key === 'schemas' && parent === 'components') {
    return mapValues(value, each => convertSchema(Object(each)))
  }
  return mapValues(value, (each, name) => convert(each, name, key))
}

function convertSchema ({ $ref, type, anyOf, examples, ...given }: DialectSchema): DialectSchema {
  const schema = mapValues(given, (value, keyword) => {
    if (keyword === 'properties') return mapValues(Object(value), each => convertSchema(Object(each)))
    if (Array.isArray(value)) return ['allOf', 'oneOf'].includes(keyword) ? value.map(convertSchema) : value
    return ['items', 'additionalProperties', 'not'].includes(keyword) && isObject(value)
      ? convertSchema(value)
      : value
  })
  // Here a reference has no siblings, and a schema has one example.
  const hasSiblings = Object.keys(schema).length > 0 || examples !== undefined
  const described: DialectSchema = {
    ...schema,
    ...$ref !== undefined && (hasSiblings ? { allOf: [{ $ref }] } : { $ref }),
    ...examples !== undefined && { example: examples[0] }
  }
  const alternatives = anyOf ?? (Array.isArray(type) ? type.map(each => ({ type: each })) : undefined)
  if (!alternatives) return { ...described, ...type !== undefined && { type } }
  return withAlternatives(described, alternatives)
}

/** Adds the alternatives of a schema. Null is no type here, but a property of the others. */
function withAlternatives (schema: DialectSchema, alternatives: DialectSchema[]): DialectSchema {
  const others = alternatives.filter(({ type }) => type !== 'null').map(convertSchema)
  const isNullable = others.length < alternatives.length
  const [only] = others
  if (only === undefined || others.length > 1) {
    return { ...schema, anyOf: others, ...isNullable && { nullable: true } }
  }
  const { $ref, ...inline } = only
  return {
    ...inline,
    ...schema,
    ...$ref !== undefined && { allOf: [{ $ref }] },
    ...isNullable && { nullable: true },
    ...isNullable && inline.enum && { enum: [...inline.enum, null] }
  }
}
