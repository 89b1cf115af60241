import rateLimit from '@fastify/rate-limit'
import fp from 'fastify-plugin'
import type { Rate } from '../src/config.ts'
import { networkOf } from '../src/network.ts'
import { tooManyRequests } from '../src/problem.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The class of limit: what takes a password allows a fifth, what services call ten times as much, what operators and verifiers poll has none. */
    limit?: 'password' | 'client' | 'none'
  }
}

/** Bounds the requests of a network: an IPv4 address, or an IPv6 /64. */
export default fp(async function limits (app, { limit }: { limit: Rate }) {
  if (limit === 'off') {
    app.decorate('rateLimit', () => async () => {})
    return
  }
  const { count, window } = limit

  // Before the limiter's own hook, which reads `rateLimit`.
  app.addHook('onRoute', route => {
    if (route.config?.limit === 'none') route.config = { ...route.config, rateLimit: false }
    if (route.config?.limit === 'client') route.config = { ...route.config, rateLimit: { max: count * 10 } }
    if (route.config?.limit === 'password') route.config = { ...route.config, rateLimit: { max: Math.max(1, Math.floor(count / 5)) } }
  })

  await app.register(rateLimit, {
    max: count,
    timeWindow: window * 1_000,
    enableDraftSpec: true,
    cache: 50_000,
    keyGenerator: ({ ip, socket }) => networkOf(ip) ?? networkOf(socket.remoteAddress) ?? '',
    errorResponseBuilder: (_request, { ttl }) => tooManyRequests(ttl / 1_000)
  })
}, { name: 'rate-limit' })
