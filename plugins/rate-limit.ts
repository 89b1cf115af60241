import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import proxyAddress from '@fastify/proxy-addr'
import rateLimit, { type FastifyRateLimitStore } from '@fastify/rate-limit'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Rate, Trust } from '../src/config/config.ts'
import { networkOf as networkOfAddress } from '../src/http/client-network.ts'
import { tooManyRequests, type Problem } from '../src/http/problem.ts'
import { requestCounts } from '../src/throttle/request-counts.ts'

/** What is limited together: what takes a password a fifth of the limit, what mails a tenth, what services call ten times as much, the rest. */
export type LimitClass = 'password' | 'mail' | 'client' | 'general'

export interface RateLimiting {
  /** Whether the instances count together now, in Redis. */
  readonly shared: boolean
  /** How many requests this process has refused. */
  readonly refused: Readonly<Record<LimitClass, number>>
  /**
   * Counts what no hook gets to see: a request with a bad path, or for a tunnel; or where there is no request, the
   * socket of one that is not HTTP. Gives what to refuse it with where the network is over the limit.
   */
  countUnrouted: (from: IncomingMessage | Socket) => Problem | undefined
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The class of limit, where it is not the general one; what operators and verifiers poll has none. */
    limit?: Exclude<LimitClass, 'general'> | 'none'
  }
  interface FastifyInstance {
    rateLimiting: RateLimiting
  }
}

export interface RateLimitOptions {
  limit: Rate
  redisUrl: string | undefined
  trustProxy: Trust | undefined
}

/** Bounds the requests of a network, an IPv4 address or an IPv6 /64: all routes of a class count together. */
export default fp(async function limits (app, { limit, redisUrl, trustProxy = () => false }: RateLimitOptions) {
  const refused = { password: 0, mail: 0, client: 0, general: 0 }
  if (limit === 'off') {
    app.decorate('rateLimiting', { shared: false, refused, countUnrouted: () => undefined })
    return
  }
  const allowed = { password: Math.max(1, Math.floor(limit.count / 5)), mail: Math.max(1, Math.floor(limit.count / 10)), client: limit.count * 10, general: limit.count }
  const window = limit.window * 1_000
  const counts = await requestCounts({
    url: redisUrl,
    onAway: error => app.log.warn({ err: error }, 'Redis is away: until it is back, this process counts requests by itself'),
    onBack: seconds => app.log.warn({ seconds: Math.round(seconds * 10) / 10 }, 'Redis is back: requests are counted together again')
  })
  app.addHook('onClose', counts.close)
  await counts.settled

  const classOf = ({ routeOptions: { config: { limit = 'none' } } }: FastifyRequest): LimitClass => limit === 'none' ? 'general' : limit
  // A proxy may not know whom it speaks for: then it speaks for itself.
  const networkOf = (address: string, { remoteAddress }: Pick<Socket, 'remoteAddress'>) => networkOfAddress(address) ?? networkOfAddress(remoteAddress) ?? ''

  await app.register(rateLimit, {
    global: false,
    max: request => allowed[classOf(request)],
    timeWindow: window,
    enableDraftSpec: true,
    keyGenerator: request => `${classOf(request)}:${networkOf(request.ip, request.socket)}`,
    store: class implements FastifyRateLimitStore {
      incr (key: string, callback: (error: Error | null, count?: { current: number, ttl: number }) => void, window: number) {
        counts.add(key, window).then(count => callback(null, count), callback)
      }

      child () { return this }
    },
    onExceeded: request => { refused[classOf(request)]++ },
    errorResponseBuilder: (_request, { ttl }) => tooManyRequests(ttl / 1_000)
  })

  // Whatever is asked for, and before anything else is looked at.
  const count = app.rateLimit()
  app.addHook('onRequest', async (request, reply) => {
    if (request.routeOptions.config.limit !== 'none') await count.call(app, request, reply)
  })

  app.decorate('rateLimiting', {
    get shared () { return counts.shared },
    refused,
    countUnrouted (from) {
      // Of bytes that come from a proxy nobody knows whose they are.
      if (!('headers' in from) && trustProxy(from.remoteAddress)) return undefined
      const network = 'headers' in from ? networkOf(proxyAddress(from, trustProxy), from.socket) : networkOf('', from)
      const { current, ttl } = counts.addNow(`general:${network}`, window)
      if (current <= allowed.general) return undefined
      refused.general++
      return tooManyRequests(ttl / 1_000)
    }
  })
}, { name: 'rate-limit' })
