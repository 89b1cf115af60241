import { stringify } from 'yaml'
import { createContent, matchesEtag, type Content } from '../../src/http/representation.ts'
import type { Typed } from '../typed.ts'
import { createPageDocument } from './page-document.ts'
import { loadPage, policy } from './page.ts'

export interface DocumentationOptions {
  /** Whether the page `/docs` is served beside `/openapi.json`. */
  hasPage: boolean
  /** The path of the issuer, under which the page is. */
  basePath: string
}

const json = 'application/json; charset=utf-8'
// The URLs have no version, so clients revalidate after this time. The entity tag makes that cheap.
const maxAgeSeconds = 300

/**
 * The API document, and a page to read it and try it out. Both are rendered when they are first requested, so
 * that the service starts sooner.
 */
const documentation: Typed<DocumentationOptions> = async (app, { hasPage, basePath }) => {
  const serve = (url: string, content: () => Content, headers: Record<string, string> = {}) => {
    app.get(url, { schema: { hide: true }, config: { isPublicDocument: true } }, async (request, reply) => {
      const { 'accept-encoding': accepted, 'if-none-match': known } = request.headers
      const { type, select } = content()
      const { body, etag, encoding } = await select(accepted)
      const cacheControl = `public, max-age=${maxAgeSeconds}`
      reply.headers({ ...headers, etag, 'cache-control': cacheControl, vary: 'accept-encoding' })
      if (matchesEtag(known, etag)) return reply.code(304).send()
      if (encoding) reply.header('content-encoding', encoding)
      return reply.type(type).send(body)
    })
  }

  serve('/openapi.json', once(() => createContent(JSON.stringify(app.swagger()), json)))
  if (hasPage) {
    const headers = { 'content-security-policy': policy }
    const { html, files } = await loadPage(basePath)
    for (const url of ['/docs', '/docs/']) serve(url, () => html, headers)
    for (const [name, content] of files) serve(`/docs/static/${name}`, () => content, headers)
    const document = once(() => createPageDocument(app.swagger(), basePath))
    serve('/docs/json', once(() => createContent(JSON.stringify(document()), json)), headers)
    // Parsers of YAML 1.1 read a bare `no` as a boolean, so the text is valid in both versions.
    const yaml = () => stringify(document(), { version: '1.1', aliasDuplicateObjects: false })
    serve('/docs/yaml', once(() => createContent(yaml(), 'application/yaml')), headers)
  }
}

/** Returns a function that calls `create` once, and then returns the same value. */
function once<Value> (create: () => Value): () => Value {
  let value: Value | undefined
  return () => (value ??= create())
}

export default documentation
