import http from 'node:http'
import https from 'node:https'
import type { LookupFunction } from 'node:net'
import { certificateFault, type CertificateFault } from '../http/certificate.ts'
import { UnreachableHost, type Destination, type HostAddress } from './destination.ts'

/** What can go wrong with an attempt. */
export const deliveryErrors = [
  'private_address', 'unresolved', 'connection', 'tls', 'certificate_expired', 'certificate_name',
  'certificate_untrusted', 'timeout', 'status', 'secret'
] as const

/** The outcome of an attempt to send an event. */
export interface DeliveryOutcome {
  milliseconds: number
  /** The status of the response, if there was one. */
  status?: number
  /** What went wrong; undefined after a success. */
  error?: typeof deliveryErrors[number]
}

/** What is posted where. */
export interface DeliveryRequest { url: string, headers: Record<string, string>, body: string }

/** The longest that an attempt may take, from the name lookup to the end of the response. */
export const attemptTimeoutMs = 10_000
// Only the status counts. A few words more are read, so that a receiver is not cut off while it sends them.
const maxResponseBytes = 8_192

/**
 * Posts a JSON text and returns the outcome; redirects are not followed. The connection goes to an address
 * that was checked, even if the name of the host leads elsewhere by then. Throws only if `signal` aborts.
 */
export async function post (
  request: DeliveryRequest, destination: Destination, signal: AbortSignal
): Promise<DeliveryOutcome> {
  const startedAt = performance.now()
  // AbortSignal.any would leave something at the signal for each attempt, as long as the signal lives.
  const attempt = new AbortController()
  const end = () => attempt.abort(signal.reason)
  if (signal.aborted) end()
  signal.addEventListener('abort', end)
  const timer = setTimeout(() => attempt.abort(), attemptTimeoutMs).unref()
  const received: { status?: number } = {}
  const outcome = (error?: DeliveryOutcome['error']): DeliveryOutcome =>
    ({ milliseconds: Math.round(performance.now() - startedAt), ...received, ...error && { error } })
  try {
    const addresses = await abortable(destination.addresses(request.url), attempt.signal)
    await send(request, addresses, attempt.signal, status => { received.status = status })
  } catch (error) {
    if (signal.aborted) throw error
    // After the status, the rest of the response does not matter.
    if (received.status === undefined) return outcome(attempt.signal.aborted ? 'timeout' : errorOf(error))
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', end)
  }
  if (received.status === undefined) return outcome('connection')
  return outcome(received.status >= 200 && received.status < 300 ? undefined : 'status')
}

type RequestError = UnreachableHost['error'] | 'connection' | 'tls' | `certificate_${CertificateFault}`

function errorOf (error: unknown): RequestError {
  if (error instanceof UnreachableHost) return error.error
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const fault = certificateFault(code)
  if (fault) return `certificate_${fault}`
  return /^(ERR_SSL|ERR_TLS|EPROTO)/.test(code) ? 'tls' : 'connection'
}

async function abortable<T> (work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  return await Promise.race([work, new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })])
}

function send (
  { url, headers, body }: DeliveryRequest,
  addresses: HostAddress[],
  signal: AbortSignal,
  onStatus: (status: number) => void
): Promise<void> {
  const lookup: LookupFunction = (_hostname, { all }, callback) => {
    const [first] = addresses
    if (all) callback(null, addresses)
    else callback(null, first?.address ?? '', first?.family)
  }
  const ownHeaders = {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    'user-agent': 'latchkey'
  }
  const { request: open } = new URL(url).protocol === 'https:' ? https : http
  return new Promise((resolve, reject) => {
    const options = { method: 'POST', agent: false, lookup, signal, headers: { ...ownHeaders, ...headers } }
    const request = open(url, options, response => {
      onStatus(response.statusCode ?? 0)
      let size = 0
      response.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size > maxResponseBytes) request.destroy()
      }).on('error', reject)
    })
    request.on('error', reject).on('close', resolve).end(body)
  })
}
