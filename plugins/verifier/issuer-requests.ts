import { once } from 'node:events'
import http, { type IncomingMessage, type OutgoingHttpHeaders } from 'node:http'
import https from 'node:https'
import { startDeadline } from './backoff.ts'

/** The issuer responded, but not with what was requested. */
export class UnexpectedResponse extends Error {
  readonly status: number | undefined

  constructor (url: URL, description: string, status?: number) {
    super(`${url.href} responded with ${description}`)
    this.status = status
  }
}

/**
 * Sends a GET on a connection of its own, which ends with the signal. Returns a response in UTF-8 whose body
 * is still to be read. Follows no redirect. Throws UnexpectedResponse for any status but 200, and network
 * errors.
 */
export async function get (
  url: URL, headers: OutgoingHttpHeaders, signal: AbortSignal
): Promise<IncomingMessage> {
  const request = (url.protocol === 'https:' ? https : http).get(url, { agent: false, headers, signal })
  // After the response has begun, the reader of its body gets the errors too.
  request.on('error', () => {})
  try {
    // If the response switches protocols, only `close` is emitted.
    const closed = once(request, 'close').then(() => { throw new UnexpectedResponse(url, 'nothing') })
    const [response]: IncomingMessage[] = await Promise.race([once(request, 'response'), closed])
    if (response?.statusCode !== 200) {
      response?.destroy()
      throw new UnexpectedResponse(url, `status ${response?.statusCode}`, response?.statusCode)
    }
    return response.setEncoding('utf8')
  } catch (error) {
    throw signal.aborted ? signal.reason : error
  }
}

const requestTimeoutMs = 5_000
const maxLength = 262_144
const minMaxAgeSeconds = 1
const maxMaxAgeSeconds = 300

/** A JSON document of the issuer. */
export interface JsonResponse {
  body: unknown
  /** How long it may be cached: 1 to 300. */
  maxAgeSeconds: number
}

/** Gets a JSON document of at most 256 Ki characters. It must arrive within 5 seconds. */
export async function getJson (url: URL, closing: AbortSignal): Promise<JsonResponse> {
  const { signal, clear } = startDeadline(requestTimeoutMs, closing)
  try {
    const response = await get(url, { accept: 'application/json' }, signal)
    let text = ''
    for await (const part of response) {
      text += part
      if (text.length > maxLength) throw new UnexpectedResponse(url, `more than ${maxLength} characters`)
    }
    return { body: parse(url, text), maxAgeSeconds: readMaxAge(response.headers['cache-control']) }
  } catch (error) {
    throw signal.aborted ? signal.reason : error
  } finally {
    clear()
  }
}

function parse (url: URL, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new UnexpectedResponse(url, 'a body that is not JSON')
  }
}

function readMaxAge (cacheControl = ''): number {
  const seconds = /(?:^|[\s,])max-age=(\d{1,9})/i.exec(cacheControl)?.[1]
  return Math.min(Math.max(Number(seconds ?? maxMaxAgeSeconds), minMaxAgeSeconds), maxMaxAgeSeconds)
}
