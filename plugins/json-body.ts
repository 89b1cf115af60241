import fp from 'fastify-plugin'
import { Problem } from '../src/http/problem.ts'
import { problems, validationFailed } from '../src/http/problems.ts'

const charsetParameter = /;\s*charset\s*=\s*"?([^";\s]*)/i

/** Accepts bodies that are JSON in UTF-8, and no others. An empty body counts as none. */
export default fp(async function jsonBody (app) {
  const parse = app.getDefaultJsonParser('error', 'error')
  const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false })

  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    const { 'content-encoding': encoding = '', 'content-type': type = '' } = request.headers
    const charset = charsetParameter.exec(type)?.[1]?.toLowerCase() ?? 'utf-8'
    if (!/^(identity)?$/i.test(encoding) || charset !== 'utf-8') {
      return done(new Problem(problems.unsupported_media_type))
    }
    if (body.length === 0) return done(null, undefined)
    let text: string
    try {
      text = utf8.decode(body as Buffer)
    } catch {
      return done(validationFailed('The body is not valid JSON in UTF-8.'))
    }
    return parse(request, text, done)
  })
}, { name: 'json-body' })
