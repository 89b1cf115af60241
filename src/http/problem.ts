/** The codes of the problems. Each room adds its own. */
export interface ProblemCodes {}
export type ProblemCode = keyof ProblemCodes

/** A kind of problem (RFC 9457). */
export interface ProblemDefinition {
  code: ProblemCode
  /** The statuses that the problem can have. The first one is the default. */
  status: readonly [number, ...number[]]
  title: string
  /** What happened and what to do, for the page of the problem. It is also the default detail. */
  meaning: string
  /** JSON Schemas of the further members that its document has (RFC 9457 section 3.2). */
  members?: Readonly<Record<string, object>>
}

type UncodedDefinition = Omit<ProblemDefinition, 'code'>

/** Gives each definition its code, which is its key. */
export function defineProblems<const Definitions extends Readonly<Record<string, UncodedDefinition>>> (
  definitions: Definitions
) {
  const entries = Object.entries(definitions).map(([code, definition]) => [code, { code, ...definition }])
  return Object.fromEntries(entries) as {
    [Code in keyof Definitions & string]: Definitions[Code] & { code: Code }
  }
}

export interface ProblemOptions {
  /** The default is the first status of the definition. */
  status?: number
  /** What is specific to this occurrence. The default is the meaning of the definition. */
  detail?: string
  /** Response headers. */
  headers?: Record<string, string>
  /** Further members of the problem document (RFC 9457 section 3.2). */
  members?: Record<string, unknown>
  /** For the log only. */
  cause?: unknown
}

/** A failure that the client is told: everything except `cause` is public. */
export class Problem extends Error {
  readonly code: ProblemCode
  readonly status: number
  readonly title: string
  readonly headers: Record<string, string>
  readonly members: Record<string, unknown>

  constructor (definition: ProblemDefinition, options: ProblemOptions = {}) {
    const { code, title, meaning, status: [defaultStatus] } = definition
    super(options.detail ?? meaning, { cause: options.cause })
    this.name = 'Problem'
    this.code = code
    this.status = options.status ?? defaultStatus
    this.title = title
    this.headers = options.headers ?? {}
    this.members = options.members ?? {}
  }
}

/** The media type of a problem document (RFC 9457). */
export const mediaType = 'application/problem+json'

/** The problem document of a failure. `instance` is the request's id. */
export const document = (
  issuer: string, { code, status, title, message, members }: Problem, instance: string
) =>
  ({ type: `${issuer}/problems/${code}`, title, status, detail: message, instance, code, ...members })

/** An offending place in the request: a JSON pointer (RFC 6901), and what is wrong there. */
export interface Violation { pointer: string, detail: string }

/** The header that says when to try again. */
export const retryAfter = (seconds: number) => ({ 'retry-after': String(Math.max(1, Math.ceil(seconds))) })
