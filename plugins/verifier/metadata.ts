import { getJson, UnexpectedResponse } from './issuer-requests.ts'
import type { VerifierLog } from './log.ts'

/** The URLs of the issuer that a verifier needs. */
export interface IssuerMetadata {
  jwks: URL
  revocationFeed: URL | undefined
}

// RFC 8414 section 2. The endpoint of the feed is specific to Latchkey.
interface MetadataDocument { issuer?: unknown, jwks_uri?: unknown, revocation_feed_endpoint?: unknown }

export interface DiscoveryOptions {
  issuer: string
  /** Where the issuer is reached; without a trailing slash. */
  discoveryUrl: string
}

/**
 * Creates a function that returns the issuer's metadata (RFC 8414). It reads the metadata again when the
 * cache time is over. If that fails, it returns the previous metadata.
 */
export function createDiscovery (
  { issuer, discoveryUrl }: DiscoveryOptions, log: VerifierLog, closing: AbortSignal
): () => Promise<IssuerMetadata> {
  const url = new URL(`${discoveryUrl}/.well-known/oauth-authorization-server`)
  let metadata: IssuerMetadata | undefined
  let freshUntil = 0
  let reading: Promise<IssuerMetadata> | undefined

  async function read (): Promise<IssuerMetadata> {
    const { body, maxAgeSeconds } = await getJson(url, closing)
    const document: MetadataDocument = Object(body)
    // RFC 8414 section 3.3: the metadata of another issuer would lead to the keys of another issuer.
    if (document.issuer !== issuer) {
      throw new UnexpectedResponse(url, `the metadata of ${describe(document.issuer)}, not of ${issuer}`)
    }
    const jwks = parseEndpoint(document.jwks_uri)
    if (!jwks) throw new UnexpectedResponse(url, 'no jwks_uri under the issuer')
    freshUntil = performance.now() + maxAgeSeconds * 1_000
    return { jwks, revocationFeed: parseEndpoint(document.revocation_feed_endpoint) }
  }

  // The verifier sends credentials to, and takes keys from, endpoints of one origin only: that at which it
  // reaches the issuer.
  function parseEndpoint (value: unknown): URL | undefined {
    if (typeof value !== 'string' || !URL.canParse(value)) return undefined
    const isUnderIssuer = value.startsWith(`${issuer}/`)
    const endpoint = new URL(isUnderIssuer ? discoveryUrl + value.slice(issuer.length) : value)
    return endpoint.origin === url.origin ? endpoint : undefined
  }

  return async () => {
    if (metadata && performance.now() < freshUntil) return metadata
    reading ??= read().finally(() => { reading = undefined })
    try {
      metadata = await reading
    } catch (error) {
      if (!metadata) throw error
      log.debug({ err: error }, 'issuer metadata not read; using the previous ones')
    }
    return metadata
  }
}

const describe = (issuer: unknown) => typeof issuer === 'string' ? issuer.slice(0, 200) : 'no issuer'
