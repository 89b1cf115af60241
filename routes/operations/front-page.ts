import { escapeHtml } from '../../src/http/html.ts'
import { namesHtml, textPage, textPageHeaders } from '../../src/http/text-page.ts'
import type { Typed } from '../typed.ts'

export interface FrontPageOptions {
  issuer: string
  serviceName: string
  /** Whether the page `/docs` exists. */
  docs: boolean
}

const iconMaxAgeSeconds = 86_400
const icon = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" fill="none" stroke="#1d4ed8" ' +
  'stroke-width="2"><circle cx="5" cy="8" r="3"/><path d="M8 8h7v3M12 8v2"/></svg>\n'

/**
 * What is at the root of the service. Health checks of balancers, which know no other path, ask for it, and
 * people who are curious about the host.
 */
const frontPage: Typed<FrontPageOptions> = async (app, { issuer, serviceName, docs }) => {
  const config = { limit: 'none', isProbe: true } as const
  const description = {
    name: serviceName,
    metadata: `${issuer}/.well-known/oauth-authorization-server`,
    ...docs && { documentation: `${issuer}/docs` }
  }
  const page = textPage(serviceName, [
    'This is a login service. You reach it from the applications that use it.',
    ...docs ? [`For developers: <a href="${escapeHtml(issuer)}/docs">the API</a>.`] : []
  ])

  app.route({
    method: ['GET', 'OPTIONS'],
    url: '/',
    schema: { hide: true },
    config,
    handler: async (request, reply) => {
      reply.header('vary', 'origin, accept')
      return namesHtml(request.headers.accept) ? reply.headers(textPageHeaders).send(page) : description
    }
  })

  app.route({
    method: ['GET', 'OPTIONS'],
    url: '/favicon.ico',
    schema: { hide: true },
    config,
    handler: async (_request, reply) => reply
      .headers({ 'content-type': 'image/svg+xml', 'cache-control': `public, max-age=${iconMaxAgeSeconds}` })
      .send(icon)
  })
}

export default frontPage
