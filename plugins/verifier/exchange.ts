import { once } from 'node:events'
import http, { type IncomingMessage, type OutgoingHttpHeaders } from 'node:http'
import https from 'node:https'
import { deadline } from './backoff.ts'

/** The issuer answered, but not with what was asked for. */
export class UnexpectedAnswer extends Error {
  readonly status: number | undefined

  constructor (url: URL, answer: string, status?: number) {
    super(`${url.href} answered ${answer}`)
    this.status = status
  }
}

/**
 * Sends a GET request on a connection of its own, which ends when the signal aborts. Returns the response
 * once its headers have arrived; its body is UTF-8. No redirect is followed. Rejects with an UnexpectedAnswer
 * for any other status than 200, and with the error of the network.
 */
export async function get (url: URL, headers: OutgoingHttpHeaders, signal: AbortSignal): Promise<IncomingMessage> {
  const request = (url.protocol === 'https:' ? https : http).get(url, { agent: false, headers, signal })
  // After the headers have arrived, the reader of the response gets errors too.
  request.on('error', () => {})
  try {
    // A response that switches protocols is reported only by `close`.
    const closed = once(request, 'close').then(() => { throw new UnexpectedAnswer(url, 'nothing') })
    const [response]: IncomingMessage[] = await Promise.race([once(request, 'response'), closed])
    if (response?.statusCode !== 200) {
      response?.destroy()
      throw new UnexpectedAnswer(url, String(response?.statusCode), response?.statusCode)
    }
    return response.setEncoding('utf8')
  } catch (error) {
    throw signal.aborted ? signal.reason : error
  }
}

const [patience, mostCharacters] = [5_000, 262_144]

/**
 * Reads a JSON document, and for how many seconds it may be cached: `max-age` (RFC 9111 section 5.2.2.1),
 * from 1 to 300. Rejects if it does not arrive within 5 seconds or has more than 262,144 characters.
 */
export async function getJson (url: URL, closing: AbortSignal): Promise<{ body: unknown, maxAge: number }> {
  const { signal, clear } = deadline(patience, closing)
  try {
    const response = await get(url, { accept: 'application/json' }, signal)
    let text = ''
    for await (const part of response) {
      text += part
      if (text.length > mostCharacters) throw new UnexpectedAnswer(url, `more than ${mostCharacters} characters`)
    }
    return { body: parse(url, text), maxAge: maxAge(response.headers['cache-control']) }
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
    throw new UnexpectedAnswer(url, 'something that is not JSON')
  }
}

function maxAge (cacheControl = ''): number {
  const seconds = /(?:^|[\s,])max-age=(\d{1,9})/i.exec(cacheControl)?.[1]
  return Math.min(Math.max(Number(seconds ?? 300), 1), 300)
}
