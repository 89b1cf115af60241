import fp from 'fastify-plugin'
import { Problem } from '../src/http/problem.ts'
import { problems, validationFailed } from '../src/http/problems.ts'

const charsetParameter = /;\s*charset\s*=\s*"?([^";\s]*)/i

/** Accepts bodies that are JSON in UTF-8, and no others. An empty body of any content type is no body. */
export default fp(async function jsonBody (app) {
  // Browsers name a type even for an empty text (`fetch` with `body: ''`, `sendBeacon`).
  app.addHook('onRequest', ({ raw: { headers } }, _reply, done) => {
    const { 'content-length': length = '0', 'transfer-encoding': encoding } = headers
    if (length === '0' && encoding === undefined) delete headers['content-type']
    done()
  })

  const parse = app.getDefaultJsonParser('error', 'error')
  const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false })

  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    const { 'content-encoding': encoding = '', 'content-type': type = '' } = request.headers
    const charset = charsetParameter.exec(type)?.[1]?.toLowerCase() ?? 'utf-8'
    if (!/^(identity)?$/i.test(encoding) || !isUtf8(charset)) {
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

/** Whether this is a name of UTF-8 or of US-ASCII, whose texts are UTF-8 too. */
const isUtf8 = (charset: string): boolean => ['utf-8', 'utf8', 'us-ascii', 'ascii'].includes(charset)
