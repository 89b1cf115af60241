import http from 'node:http'
import https from 'node:https'
import type { LookupFunction } from 'node:net'
import { certificateFault, type CertificateFault } from '../http/certificate.ts'
import { UnreachableHost, type Destination } from './destination.ts'

/** What can go wrong with an attempt. */
export const faults = [
  'private_address', 'unresolved', 'connection', 'tls', 'certificate_expired', 'certificate_name', 'certificate_untrusted', 'timeout', 'status', 'secret'
] as const

/** What came of an attempt to send something. */
export interface Outcome {
  milliseconds: number
  /** What was answered. */
  status?: number
  /** What went wrong; undefined where it was delivered. */
  error?: typeof faults[number]
}

/** Milliseconds that an attempt takes at most, all in all. */
export const patience = 10_000
// In bytes. The answer's status is all that counts; the rest is read so that nobody is cut off in the middle of a few words.
const largest = 8_192

/**
 * Posts a JSON text and tells what came of it; redirects are not followed. The connection goes to an address that was
 * checked, whatever the name of the host leads to by then. Throws only where `signal` ends it.
 */
export async function post (url: string, headers: Record<string, string>, body: string, destination: Destination, signal: AbortSignal): Promise<Outcome> {
  const begun = performance.now()
  // Of AbortSignal.any something would be left at the signal, for as long as that lives.
  const attempt = new AbortController()
  const end = () => attempt.abort(signal.reason)
  if (signal.aborted) end()
  signal.addEventListener('abort', end)
  const timer = setTimeout(() => attempt.abort(), patience).unref()
  const told: { status?: number } = {}
  const outcome = (error?: Outcome['error']): Outcome => ({ milliseconds: Math.round(performance.now() - begun), ...told, ...error && { error } })
  try {
    const addresses = await within(destination.addresses(url), attempt.signal)
    await send(url, headers, body, addresses, attempt.signal, status => { told.status = status })
  } catch (error) {
    if (signal.aborted) throw error
    // Whatever became of the rest of the answer.
    if (told.status === undefined) return outcome(attempt.signal.aborted ? 'timeout' : error instanceof UnreachableHost ? error.error : faultOf(error))
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', end)
  }
  if (told.status === undefined) return outcome('connection')
  return outcome(told.status >= 200 && told.status < 300 ? undefined : 'status')
}

function faultOf (error: unknown): 'connection' | 'tls' | `certificate_${CertificateFault}` {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const fault = certificateFault(code)
  if (fault) return `certificate_${fault}`
  return /^(ERR_SSL|ERR_TLS|EPROTO)/.test(code) ? 'tls' : 'connection'
}

async function within<T> (work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  return await Promise.race([work, new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })])
}

type Addresses = Awaited<ReturnType<Destination['addresses']>>

function send (url: string, headers: Record<string, string>, body: string, addresses: Addresses, signal: AbortSignal, onStatus: (status: number) => void): Promise<void> {
  const lookup: LookupFunction = (_hostname, { all }, callback) => {
    const [first] = addresses
    if (all) callback(null, addresses)
    else callback(null, first?.address ?? '', first?.family)
  }
  return new Promise((resolve, reject) => {
    const request = (new URL(url).protocol === 'https:' ? https : http).request(url, {
      method: 'POST',
      agent: false,
      lookup,
      signal,
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), 'user-agent': 'latchkey', ...headers }
    }, response => {
      onStatus(response.statusCode ?? 0)
      let size = 0
      response.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size > largest) request.destroy()
      }).on('error', reject)
    })
    request.on('error', reject).on('close', resolve).end(body)
  })
}
