import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyRequest } from 'fastify'
import { payloadTooLarge } from '../../src/http/problems.ts'

const maxBytes = 16_384
// A form usually arrives together with its headers. A slow client must not hold up its own refusal.
const maxWaitMs = 500

/**
 * Reads the form of a request that was refused before its body was read, such as one over the rate limit: the
 * page shows again what was typed, and keeps the sealed request. A form of another site is not read.
 */
export async function readRefusedForm (request: FastifyRequest): Promise<void> {
  const { raw, headers, body } = request
  const length = Number(headers['content-length'])
  const isForm = headers['content-type']?.startsWith(formType) === true && length <= maxBytes
  if (!isForm || body !== undefined || raw.readableEnded || !request.isSameOrigin()) return
  const text = await Promise.race([readText(raw), pause(maxWaitMs, undefined, { ref: false })])
  if (text !== undefined) request.body = parseForm(text)
}

/** Reads a body. Returns undefined if it does not arrive completely. */
async function readText (body: AsyncIterable<Uint8Array>): Promise<string | undefined> {
  const chunks: Uint8Array[] = []
  try {
    for await (const chunk of body) chunks.push(chunk)
    return Buffer.concat(chunks).toString()
  } catch {
    return undefined
  }
}

export const formType = 'application/x-www-form-urlencoded'

/**
 * The longest form that is redirected to as a query. Servers and proxies take no longer URL (Node.js: 16 KiB
 * with all other headers).
 */
export const maxQueryLength = 12_288

/**
 * Returns a form that is redirected to as a query. Throws `payload_too_large` if it is too long once its
 * characters are encoded.
 */
export function queryOf (body: unknown): string {
  const query = new URLSearchParams(typeof body === 'string' ? body : '').toString()
  if (query.length > maxQueryLength) throw payloadTooLarge()
  return query
}

/** Parses a form. Of several fields with the same name, the last one counts. */
export const parseForm = (text: string): Record<string, string> =>
  Object.fromEntries(new URLSearchParams(text))

/** Returns what was typed into a form, except for passwords. The form may break its schema. */
export function typedOf (body: unknown): Record<string, string> {
  const entries: Array<[string, unknown]> = Object.entries(Object(body))
  return Object.fromEntries(entries.flatMap(([name, value]) =>
    typeof value === 'string' && !name.includes('password') ? [[name, value.slice(0, maxShownLength)]] : []))
}

const maxShownLength = 320
