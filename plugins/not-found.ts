import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import findMyWay, { type HTTPMethod } from 'find-my-way'
import { methodNotAllowed, notFound } from '../src/http/problem.ts'

/** Tells a path that is not there from a method that the path does not have. */
export default fp(async function notFoundOrNotAllowed (app) {
  // A path is told from a method by a router of our own: Fastify's knows only whole matches.
  const methods = new Set<HTTPMethod>()
  const router = findMyWay({ ignoreTrailingSlash: false })
  app.addHook('onRoute', ({ method, url }) => {
    for (const name of [method].flat() as HTTPMethod[]) {
      if (name === 'OPTIONS' || router.hasRoute(name, url)) continue
      methods.add(name)
      router.on(name, url, () => {})
    }
  })
  const refuse = async (request: FastifyRequest) => {
    const path = request.raw.url?.split('?')[0] ?? ''
    const found = [...methods].filter(method => router.find(method, path))
    // Fastify makes a HEAD of each GET, and tells of it alone where a path is known by two spellings.
    const allowed = found.includes('HEAD') && !found.includes('GET') ? ['GET', ...found] : found
    // A route that has the method can still find nothing.
    throw allowed.length === 0 || allowed.includes(request.method) ? notFound() : methodNotAllowed(allowed)
  }
  // Before a body is looked at, and counted like any other request.
  app.addHook('onRequest', async request => { if (request.is404) await refuse(request) })
  app.setNotFoundHandler(refuse)
}, { name: 'not-found', dependencies: ['rate-limit', 'problems'] })
