import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import proxyAddress from '@fastify/proxy-addr'
import rateLimit, { type FastifyRateLimitStore } from '@fastify/rate-limit'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Rate, Trust } from '../src/config/config.ts'
import { networkOf as networkOfAddress } from '../src/http/client-network.ts'
import type { Problem } from '../src/http/problem.ts'
import { tooManyRequests } from '../src/http/problems.ts'
import { createRequestCounters } from '../src/throttle/request-counters.ts'

/**
 * The routes that share a rate limit. Routes that take a password have a fifth of the limit, routes that
 * request a mail a tenth, the OAuth endpoints ten times the limit, and all others the limit itself.
 */
export type LimitClass = 'password' | 'mail' | 'client' | 'general'

export interface RateLimiting {
  /** Whether the instances count together now, in Redis. */
  readonly isShared: boolean
  /** How many requests this process has refused. */
  readonly refused: Readonly<Record<LimitClass, number>>
  /**
   * Counts a request that no hook sees: one with an invalid path, one for a tunnel, or bytes that are not
   * HTTP, of which only the socket is known. Returns the problem to refuse it with if the network is over the
   * limit.
   */
  countUnrouted: (from: IncomingMessage | Socket) => Problem | undefined
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /**
     * The class of the rate limit, `general` unless given. Routes that operators and verifiers poll have
     * none.
     */
    limit?: Exclude<LimitClass, 'general'> | 'none'
  }
  interface FastifyInstance {
    rateLimiting: RateLimiting
  }
}

export interface RateLimitOptions {
  limit: Rate
  redisUrl: string | undefined
  /** How long a request waits for Redis; 100 ms by default. */
  redisTimeoutMs?: number | undefined
  trustProxy: Trust | undefined
}

const perClass = (count: number): Record<LimitClass, number> => ({
  password: Math.max(1, Math.floor(count / 5)),
  mail: Math.max(1, Math.floor(count / 10)),
  client: count * 10,
  general: count
})

const classOf = ({ routeOptions: { config: { limit = 'none' } } }: FastifyRequest): LimitClass =>
  limit === 'none' ? 'general' : limit

/** If a proxy does not name the client's address, the proxy itself is counted. */
const networkOf = (address: string, { remoteAddress }: Pick<Socket, 'remoteAddress'>) =>
  networkOfAddress(address) ?? networkOfAddress(remoteAddress) ?? ''

/** The rate limit: bounds the requests of a network (an IPv4 address or an IPv6 /64) per class of routes. */
export default fp(async function rateLimitPlugin (app, options: RateLimitOptions) {
  const { limit, redisUrl, redisTimeoutMs, trustProxy = () => false } = options
  const refused = { password: 0, mail: 0, client: 0, general: 0 }
  if (limit === 'off') {
    app.decorate('rateLimiting', { isShared: false, refused, countUnrouted: () => undefined })
    return
  }
  const allowed = perClass(limit.count)
  const counters = await createRequestCounters({
    redisUrl,
    windowSeconds: limit.window,
    answerTimeoutMs: redisTimeoutMs,
    onUnavailable: error => {
      const message = 'Redis is unavailable: this process counts requests by itself until it is back'
      app.log.warn({ err: error }, message)
    },
    onAvailable: outageSeconds => {
      const seconds = Math.round(outageSeconds * 10) / 10
      app.log.warn({ seconds }, 'Redis is available again: instances count requests together')
    }
  })
  app.addHook('onClose', async () => { counters.close() })
  await counters.ready

  await app.register(rateLimit, {
    global: false,
    max: request => allowed[classOf(request)],
    timeWindow: limit.window * 1_000,
    enableDraftSpec: true,
    keyGenerator: request => `${classOf(request)}:${networkOf(request.ip, request.socket)}`,
    store: class implements FastifyRateLimitStore {
      incr (key: string, callback: (error: Error | null, count?: { current: number, ttl: number }) => void) {
        counters.increment(key)
          .then(({ current, ttlMs }) => callback(null, { current, ttl: ttlMs }), callback)
      }

      child () { return this }
    },
    onExceeded: request => { refused[classOf(request)]++ },
    errorResponseBuilder: (_request, { ttl }) => tooManyRequests(ttl / 1_000)
  })

  // A hook of the server counts unknown paths too, and comes before all other work.
  const count = app.rateLimit()
  app.addHook('onRequest', async (request, reply) => {
    if (request.routeOptions.config.limit !== 'none') await count.call(app, request, reply)
  })

  app.decorate('rateLimiting', {
    get isShared () { return counters.isShared },
    refused,
    countUnrouted (from) {
      // Bytes that are not HTTP do not tell for which client a trusted proxy sent them.
      if (!('headers' in from) && trustProxy(from.remoteAddress)) return undefined
      const network = 'headers' in from
        ? networkOf(proxyAddress(from, trustProxy), from.socket)
        : networkOf('', from)
      const { current, ttlMs } = counters.incrementNow(`general:${network}`)
      if (current <= allowed.general) return undefined
      refused.general++
      return tooManyRequests(ttlMs / 1_000)
    }
  })
}, { name: 'rate-limit' })
