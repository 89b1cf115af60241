import AjvCompiler from '@fastify/ajv-compiler'
import { queryParser } from '../http/query.ts'

const compilers = AjvCompiler()
const customOptions = { removeAdditional: false, allErrors: true, coerceTypes: false } as const

/**
 * Compiles validators that convert no types. A query is text, so its integers and booleans are parsed before.
 */
export const buildValidator: ReturnType<typeof AjvCompiler> = schemas => {
  const compile = compilers(schemas, { customOptions })
  return route => {
    const validate = compile(route)
    const isQuery = typeof route === 'object' && 'httpPart' in route && route.httpPart === 'querystring'
    if (!isQuery) return validate
    const parse = queryParser(route.schema)
    const validateQuery = (query: unknown) => {
      parse(query)
      const isValid = validate(query)
      Object.assign(validateQuery, { errors: validate.errors })
      return isValid
    }
    return Object.assign(validateQuery, validate)
  }
}
