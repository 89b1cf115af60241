import { commonCodes, isCommonOAuthFailure } from '../../src/api-document/failure-responses.ts'
import { findProblem } from '../../src/capabilities.ts'
import type { ProblemCode } from '../../src/http/problem.ts'

type Json = Record<string, unknown>

/**
 * The API document as the page shows it. It is easier to read than the exact one: failures that every
 * operation can have are listed once, and cookies, which the browser sends by itself, are no credentials to
 * enter. Requests go to the host that the page came from.
 */
export function createPageDocument (exact: object, basePath: string): object {
  const api: Json = structuredClone({ ...exact })
  const components = objectOf(api['components'])
  const responses = objectOf(components['responses'])
  const schemes = objectOf(components['securitySchemes'])
  const cookies = Object.keys(schemes).filter(name => objectOf(schemes[name])['in'] === 'cookie')
  for (const name of cookies) delete schemes[name]
  for (const path of Object.values(objectOf(api['paths']))) {
    for (const operation of Object.values(objectOf(path))) {
      simplify(objectOf(operation), { responses, cookies })
    }
  }
  const info = objectOf(api['info'])
  info['description'] = `${String(info['description'])}\n\n${commonFailures(basePath)}`
  api['servers'] = [{ url: basePath === '' ? '/' : basePath }]
  return api
}

const objectOf = (value: unknown): Json => Object(value)

function simplify (operation: Json, { responses, cookies }: { responses: Json, cookies: string[] }): void {
  const own = objectOf(operation['responses'])
  for (const [status, response] of Object.entries(own)) {
    const { $ref } = objectOf(response)
    const target = typeof $ref === 'string'
      ? objectOf(responses[$ref.split('/').at(-1) ?? ''])
      : objectOf(response)
    if (isCommon(Number(status), target)) delete own[status]
  }
  if (Array.isArray(operation['security'])) {
    operation['security'] = operation['security'].filter(
      each => !cookies.some(name => name in objectOf(each))
    )
  }
}

/** Whether a response has only failures that every operation can have. */
function isCommon (status: number, { content }: Json): boolean {
  const [type, media] = Object.entries(objectOf(content))[0] ?? []
  if (status < 400) return false
  const codes = Object.keys(objectOf(objectOf(media)['examples']))
  if (type === 'application/json') return isCommonOAuthFailure(status, codes)
  return codes.every(code => commonCodes.has(code as ProblemCode))
}

function commonFailures (basePath: string): string {
  const failures = [...commonCodes].map(code => {
    const { status: [status] } = findProblem(code)
    return { status, link: `[\`${code}\`](${basePath}/problems/${code}) (${status})` }
  })
  const links = failures.sort((one, other) => one.status - other.status).map(({ link }) => link)
  return 'Each operation below lists only its own failures. **Every operation** can also fail with ' +
    `${links.join(', ')}. In the group *Services* these are OAuth errors with the same statuses.`
}
