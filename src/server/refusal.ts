import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { newId } from '../crypto/random.ts'
import { document, mediaType, Problem } from '../http/problem.ts'
import { problems, requestTimeout, validationFailed } from '../http/problems.ts'

/** The headers of an answer to a request that no plugin sees. They equal those that the plugins add. */
export const defaultHeaders = (issuer: string) => ({
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none';base-uri 'none';form-action 'none';frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'cross-origin',
  'origin-agent-cluster': '?1',
  'referrer-policy': 'no-referrer',
  ...issuer.startsWith('https:') && { 'strict-transport-security': 'max-age=31536000; includeSubDomains' },
  'x-content-type-options': 'nosniff',
  'x-dns-prefetch-control': 'off',
  'x-download-options': 'noopen',
  'x-frame-options': 'DENY',
  'x-permitted-cross-domain-policies': 'none',
  'x-xss-protection': '0'
})

/** The problem of bytes that are not HTTP, or that did not arrive in time. */
export function unreadableRequest ({ code }: NodeJS.ErrnoException): Problem {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return requestTimeout()
  if (code === 'HPE_HEADER_OVERFLOW') return new Problem(problems.headers_too_large)
  return validationFailed('The request is not valid HTTP.')
}

/**
 * Answers on the bare socket and closes it. Returns the request's id; undefined if no answer could be sent.
 */
export function refuse (problem: Problem, socket: Socket, issuer: string): string | undefined {
  // Node.js keeps the answer that a socket is about to send in this property.
  const { _httpMessage: answer }: { _httpMessage?: { headersSent: boolean } | null } = Object(socket)
  if (!socket.writable || answer?.headersSent) {
    socket.destroy()
    return undefined
  }
  const id = newId()
  const body = JSON.stringify(document(issuer, problem, id))
  const headers = {
    ...defaultHeaders(issuer),
    ...problem.headers,
    'content-type': mediaType,
    'content-length': Buffer.byteLength(body),
    'x-request-id': id,
    connection: 'close'
  }
  const head = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')
  socket.end(`HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\n${head}\r\n${body}`)
  return id
}
