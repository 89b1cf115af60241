interface SharedResponse { description: string, content?: Record<string, object> }
type Responses = Record<string, SharedResponse | { $ref: string }>

interface Use { responses: Responses, status: string, response: SharedResponse, text: string }

/**
 * Replaces every failure that several operations have by a reference to a component of the API document.
 * Returns the components by name.
 */
export function shareResponses (operations: Array<{ responses: Responses }>): Record<string, SharedResponse> {
  const uses = operations.flatMap(({ responses }) => failuresIn(responses))
  const counts = new Map<string, number>()
  for (const { text } of uses) counts.set(text, (counts.get(text) ?? 0) + 1)
  const names = new Map<string, string>()
  const shared: Record<string, SharedResponse> = {}
  for (const { responses, status, response, text } of uses) {
    if (counts.get(text) === 1) continue
    const name = names.get(text) ?? uniqueName(response, status, shared)
    names.set(text, name)
    shared[name] = response
    responses[status] = { $ref: `#/components/responses/${name}` }
  }
  return shared
}

const failuresIn = (responses: Responses): Use[] => Object.entries(responses).flatMap(([status, response]) =>
  Number(status) < 400 || '$ref' in response
    ? []
    : [{ responses, status, response, text: JSON.stringify(response) }])

/** A name made of the codes of a response; with its status if another response has that name. */
function uniqueName ({ content = {} }: SharedResponse, status: string, taken: object): string {
  const [type, media] = Object.entries(content)[0] ?? []
  const codes = media !== undefined && 'examples' in media ? Object.keys(Object(media.examples)) : []
  const prefix = prefixes[type ?? ''] ?? ''
  const name = prefix + codes.map(toPascalCase).join('Or')
  return name in taken ? `${name}${status}` : name
}

// A page has no codes.
const prefixes: Record<string, string> = { 'application/json': 'OAuth', 'text/html': 'Page' }

const toPascalCase = (code: string): string =>
  `_${code}`.replaceAll(/_([a-z])/g, (_match, letter: string) => letter.toUpperCase())
