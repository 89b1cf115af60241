import type { Violation } from './problem.ts'

/** A violation of a JSON Schema, as Ajv reports it. */
export interface SchemaViolation {
  keyword: string
  instancePath: string
  params: Record<string, unknown>
  message?: string
}

// A hostile body may violate the schema in thousands of places. Only the first ones are reported.
const maxViolations = 16
const maxNameLength = 64

/** The places of violations as JSON pointers (RFC 6901), each once, and what is wrong there in words. */
export function describeViolations (violations: readonly SchemaViolation[]): Violation[] {
  const places = new Map<string, Violation>()
  for (const { keyword, instancePath, params, message } of violations) {
    if (places.size === maxViolations) break
    const pointer = pointerTo(instancePath, params['missingProperty'] ?? params['additionalProperty'])
    const isDescribed = places.has(pointer)
    // A format says more than the pattern beside it.
    if (isDescribed && keyword !== 'format') continue
    places.set(pointer, { pointer, detail: describe(keyword, params) ?? message ?? 'is not valid' })
  }
  return [...places.values()]
}

function pointerTo (path: string, name: unknown): string {
  if (typeof name !== 'string') return path
  return `${path}/${name.slice(0, maxNameLength).replaceAll('~', '~0').replaceAll('/', '~1')}`
}

const types: Record<string, string> = {
  object: 'a JSON object',
  array: 'an array',
  string: 'a string',
  boolean: 'true or false',
  integer: 'a whole number',
  number: 'a number',
  null: 'null'
}

const formats: Record<string, string> = {
  'date-time': 'a time such as 2026-11-22T09:00:00Z',
  email: 'an email address',
  uri: 'a URL',
  uuid: 'a UUID'
}

function describe (keyword: string, params: Record<string, unknown>): string | undefined {
  const { type, format, allowedValues, allowedValue } = params
  const limit = String(params['limit'])
  const atLeast = (things: string) =>
    limit === '1' ? 'must not be empty' : `must have at least ${limit} ${things}`
  switch (keyword) {
    case 'required': return 'is required'
    case 'additionalProperties': return 'is not a known property'
    case 'pattern': return 'has characters that are not allowed'
    case 'minLength': return atLeast('characters')
    case 'maxLength': return `must have at most ${limit} characters`
    case 'minItems': return atLeast('items')
    case 'maxItems': return `must have at most ${limit} items`
    case 'uniqueItems': return 'must not have the same item twice'
    case 'minimum': return `must be at least ${limit}`
    case 'maximum': return `must be at most ${limit}`
    case 'type': return `must be ${[type].flat().map(name => types[String(name)] ?? name).join(' or ')}`
    case 'format': return formats[String(format)] && `must be ${formats[String(format)]}`
    case 'const': return `must be ${JSON.stringify(allowedValue)}`
    case 'enum':
      return Array.isArray(allowedValues) ? `must be one of ${allowedValues.join(', ')}` : undefined
    default: return undefined
  }
}

const parts: Record<string, string> =
  { querystring: 'query', params: 'path', headers: 'headers', body: 'body' }

/** What happened, in one sentence. If one place is wrong, it says which. */
export function summarize (violations: readonly Violation[], context: string | undefined): string {
  const [violation] = violations
  const name = violation?.pointer.slice(1)
  if (violation && violations.length === 1 && name !== undefined && /^\w+$/.test(name)) {
    return `\`${name}\` ${violation.detail}.`
  }
  const part = parts[context ?? ''] ?? 'request'
  return `The ${part} does not match the schema.`
}
