import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import type { FastifyInstance } from 'fastify'
import type { Answer } from './client.ts'

interface Documented { content?: Record<string, { schema: object }> }
type Reference = { $ref: string }
interface Api {
  paths: Record<string, Record<string, { responses: Record<string, Documented | Reference> }>>
  components: { responses: Record<string, Documented> }
}
interface ContractOperation {
  path: RegExp
  method: string
  responses: Record<string, Documented>
  schemas: Map<string, () => ValidateFunction>
}

/** Compiled on first use, because a test file needs few of the documented schemas. */
function once<T> (make: () => T): () => T {
  let made: T | undefined
  return () => (made ??= make())
}

/** The operations of each configuration, and of each document. Compiling them takes much of a test's time. */
const contracts = new Map<unknown, ContractOperation[]>()
const configurations = new WeakMap<FastifyInstance, string>()

/** Remembers the configuration of an app. Apps with the same one share a document, which is made once. */
export function shareContract (app: FastifyInstance, configuration: object): void {
  configurations.set(app, JSON.stringify(configuration))
}

/** The operations of the service's API document, with validators of their responses. */
function contract (app: FastifyInstance): ContractOperation[] {
  const key = configurations.get(app) ?? app
  const known = contracts.get(key)
  if (known) return known
  const { paths, components } = app.swagger() as unknown as Api
  const text = JSON.stringify([paths, components])
  const operations = contracts.get(text) ?? operationsOf({ paths, components })
  contracts.set(text, operations).set(key, operations)
  return operations
}

function operationsOf ({ paths, components }: Api): ContractOperation[] {
  const resolve = (response: Documented | Reference): Documented =>
    '$ref' in response ? components.responses[response.$ref.split('/').at(-1) ?? ''] ?? {} : response
  const ajv = new Ajv2020({ strict: false, allErrors: true })
  formats.default(ajv)
  ajv.addSchema({ $id: 'api', components })
  const absolute = (schema: object): object =>
    JSON.parse(JSON.stringify(schema).replaceAll('"#/components', '"api#/components'))
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => {
      const responses = Object.fromEntries(
        Object.entries(operation.responses).map(([status, response]) => [status, resolve(response)])
      )
      return {
        path: new RegExp(`^${path.replaceAll('.', '\\.').replaceAll(/\{\w+\}/g, '[^/]+')}$`),
        method: method.toUpperCase(),
        responses,
        schemas: new Map(
          Object.entries(responses).flatMap(([status, { content = {} }]) =>
            Object.entries(content).map(
              ([type, { schema }]) =>
                [`${status} ${type}`, once(() => ajv.compile(absolute(schema)))] as const
            )
          )
        )
      }
    })
  )
}

/**
 * Returns how an answer differs from the API document. Returns undefined if it does not differ, or if the
 * document does not describe it.
 */
export function contradiction (
  app: FastifyInstance,
  method: string,
  url: string,
  { status, headers, text, body }: Answer
): string | undefined {
  const [path = ''] = url.split('?')
  const operation = contract(app).find(
    operation => operation.path.test(path) && operation.method === (method === 'HEAD' ? 'GET' : method)
  )
  if (!operation) return undefined
  const documented = operation.responses[status]
  if (!documented) return 'does not know this status here'
  if (text === '') return documented.content && method !== 'HEAD' ? 'promises a body' : undefined
  const type = String(headers['content-type']).split(';')[0] ?? ''
  const validate = operation.schemas.get(`${status} ${type}`)?.()
  if (!validate) return `does not know ${type} here`
  if (body !== undefined && !validate(body)) return `says otherwise: ${JSON.stringify(validate.errors)}`
  return undefined
}
