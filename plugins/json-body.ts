import fp from 'fastify-plugin'
import { Problem, validationFailed } from '../src/http/problem.ts'

/** Bodies are JSON in UTF-8 and nothing else; an empty one is none. */
export default fp(async function jsonBody (app) {
  const parse = app.getDefaultJsonParser('error', 'error')
  const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false })

  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    if (!/^(identity)?$/i.test(request.headers['content-encoding'] ?? '')) return done(new Problem('unsupported_media_type'))
    const charset = /;\s*charset\s*=\s*"?([^";\s]*)/i.exec(request.headers['content-type'] ?? '')?.[1]
    if (charset !== undefined && charset.toLowerCase() !== 'utf-8') return done(new Problem('unsupported_media_type'))
    if (body.length === 0) return done(null, undefined)
    let text: string
    try {
      text = utf8.decode(body as Buffer)
    } catch {
      return done(validationFailed('The body is not JSON in UTF-8.'))
    }
    return parse(request, text, done)
  })
}, { name: 'json-body' })
