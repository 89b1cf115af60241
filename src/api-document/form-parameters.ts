interface Schema {
  type?: string
  description?: string
  anyOf?: Schema[]
  properties?: Record<string, Schema>
}
interface Form { schema?: Schema, example?: Record<string, unknown> }

/**
 * Describes each parameter of a form that may be repeated as an array. An array is sent as one parameter for
 * each value. Generated clients cannot encode the alternative "a string or an array" in a form.
 */
export function describeRepeatable ({ schema, example }: Form): void {
  const parameters = schema?.properties ?? {}
  for (const [name, { description, anyOf = [] }] of Object.entries(parameters)) {
    const list = anyOf.find(({ type }) => type === 'array')
    if (!list) continue
    parameters[name] = { ...description !== undefined && { description }, ...list }
    if (example && name in example) example[name] = [example[name]].flat()
  }
}
