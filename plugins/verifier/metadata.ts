import type { FastifyBaseLogger } from 'fastify'
import { getJson, UnexpectedAnswer } from './exchange.ts'

/** The addresses of the issuer that the verifier uses. */
export interface Metadata {
  /** `jwks_uri` (RFC 8414 section 2). */
  jwks: URL
  /**
   * `revocation_feed_endpoint`, an extension of Latchkey; undefined if it is missing or of another origin.
   */
  revocations: URL | undefined
}

/**
 * Makes a function that returns the metadata of an issuer (RFC 8414 section 3). It is cached as
 * `cache-control` says, for 300 seconds at most. If it cannot be read again, the last one is returned; the
 * promise rejects only if it was never read.
 */
export function discover (issuer: string, log: FastifyBaseLogger, closing: AbortSignal): () => Promise<Metadata> {
  const url = new URL(`${issuer}/.well-known/oauth-authorization-server`)
  let metadata: Metadata | undefined
  let freshUntil = 0
  let reading: Promise<Metadata> | undefined

  async function read (): Promise<Metadata> {
    const { body, maxAge } = await getJson(url, closing)
    const found: { issuer?: unknown, jwks_uri?: unknown, revocation_feed_endpoint?: unknown } = Object(body)
    // RFC 8414 section 3.3: the metadata of another issuer would bring that issuer's keys (mix-up attack).
    if (found.issuer !== issuer) throw new UnexpectedAnswer(url, 'the metadata of another issuer')
    const jwks = endpoint(found.jwks_uri)
    if (!jwks) throw new UnexpectedAnswer(url, 'no jwks_uri of its own origin')
    freshUntil = performance.now() + maxAge * 1_000
    return { jwks, revocations: endpoint(found.revocation_feed_endpoint) }
  }

  function endpoint (value: unknown): URL | undefined {
    if (typeof value !== 'string' || !URL.canParse(value)) return undefined
    const found = new URL(value)
    return found.origin === url.origin ? found : undefined
  }

  return async () => {
    if (metadata && performance.now() < freshUntil) return metadata
    reading ??= read().finally(() => { reading = undefined })
    try {
      metadata = await reading
    } catch (error) {
      if (!metadata) throw error
      log.debug({ err: error }, 'issuer metadata could not be read again')
    }
    return metadata
  }
}
