import type { FastifyBaseLogger } from 'fastify'
import { getJson, UnexpectedAnswer } from './exchange.ts'

/** Where the issuer has what a verifier needs. */
export interface Metadata {
  jwks: URL
  revocations: URL | undefined
}

/** Finds the metadata of an issuer (RFC 8414), and again when its time is over; while it cannot be read, the last one serves. */
export function discover (issuer: string, log: FastifyBaseLogger, closing: AbortSignal): () => Promise<Metadata> {
  const url = new URL(`${issuer}/.well-known/oauth-authorization-server`)
  let metadata: Metadata | undefined
  let freshUntil = 0
  let reading: Promise<Metadata> | undefined

  async function read (): Promise<Metadata> {
    const { body, maxAge } = await getJson(url, closing)
    const found: { issuer?: unknown, jwks_uri?: unknown, revocation_feed_endpoint?: unknown } = Object(body)
    // RFC 8414 section 3.3: another issuer's metadata would bring another's keys.
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
