// JSON Schemas of data that the service writes and does not read: what a capability describes of its rows.

export type JsonSchema = Readonly<Record<string, unknown>>

export const text: JsonSchema = { type: 'string' }
export const integer: JsonSchema = { type: 'integer' }
export const boolean: JsonSchema = { type: 'boolean' }
export const uuid: JsonSchema = { type: 'string', format: 'uuid' }
export const time: JsonSchema = { type: 'string', format: 'date-time' }

/** A schema that also accepts null. */
export const nullable = (schema: JsonSchema): JsonSchema => ({ anyOf: [schema, { type: 'null' }] })

/** A schema with a description. */
export const describe = (schema: JsonSchema, description: string): JsonSchema => ({ ...schema, description })

/** An array of such items. */
export const arrayOf = (items: JsonSchema): JsonSchema => ({ type: 'array', items })

/** An array of objects that have these properties, and no others. */
export const rowsOf = (properties: Readonly<Record<string, JsonSchema>>): JsonSchema => arrayOf({
  type: 'object', additionalProperties: false, required: Object.keys(properties), properties
})
