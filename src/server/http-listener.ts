import type { Config } from '../config/config.ts'
import { DrainingServer } from './draining-server.ts'

// Real clients send far fewer on a connection. More would let a stranger keep the event loop busy for
// seconds.
const maxRequestsPerSocket = 1_000
const maxConnections = 10_000
const maxHeadersMs = 5_000
const checkIntervalMs = 1_000
// Beyond REQUEST_TIMEOUT, so that the timeouts of requests come first.
const idleGraceMs = 5_000

/** The HTTP server of Node.js with the timeouts of the configuration. `idleMs` is for its `close`. */
export function createListener (
  { requestTimeout, keepAliveTimeout }: Config, idleMs: number
): DrainingServer {
  const timeoutMs = requestTimeout * 1_000
  const listener = new DrainingServer({
    idleMs,
    maxConnections,
    requestTimeout: timeoutMs,
    headersTimeout: Math.min(maxHeadersMs, timeoutMs),
    connectionsCheckingInterval: checkIntervalMs,
    keepAliveTimeout: keepAliveTimeout * 1_000,
    requireHostHeader: false
  })
  // For a connection on which nothing moves during a request. Between two requests `keepAliveTimeout` counts.
  listener.setTimeout(timeoutMs + idleGraceMs)
  listener.maxRequestsPerSocket = maxRequestsPerSocket
  return listener
}
