import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { document, mediaType, Problem, requestTimeout, validationFailed } from '../http/problem.ts'
import { newId } from '../crypto/random.ts'

/** The headers of what is refused before it reaches the plugins: the same as theirs. */
export const plain = (issuer: string) => ({
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

/** What is wrong with bytes that are not HTTP, or did not arrive in time. */
export const unreadable = ({ code }: NodeJS.ErrnoException) => code === 'ERR_HTTP_REQUEST_TIMEOUT'
  ? requestTimeout()
  : code === 'HPE_HEADER_OVERFLOW' ? new Problem('headers_too_large') : validationFailed('The request is not valid HTTP.')

/** Answers on the bare socket, and closes it. Gives the request's id; undefined where there is nobody to answer. */
export function refuse (problem: Problem, socket: Socket, issuer: string): string | undefined {
  // Node keeps the answer that a socket is about to give there.
  const { _httpMessage: answer }: { _httpMessage?: { headersSent: boolean } | null } = Object(socket)
  if (!socket.writable || answer?.headersSent) {
    socket.destroy()
    return undefined
  }
  const id = newId()
  const body = JSON.stringify(document(issuer, problem, id))
  const headers = { ...plain(issuer), ...problem.headers, 'content-type': mediaType, 'content-length': Buffer.byteLength(body), 'x-request-id': id, connection: 'close' }
  socket.end(`HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\n${Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`)
  return id
}
