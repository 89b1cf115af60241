import { Type } from '@sinclair/typebox'
import { escapeHtml } from '../../src/http/html.ts'
import { catalogue, notFound, type Code } from '../../src/http/problem.ts'
import { strict, type Typed } from '../typed.ts'

/** A page behind the `type` of each problem. */
const problems: Typed = async (app) => {
  app.get('/:code', {
    schema: {
      operationId: 'getProblem',
      tags: ['Problems'],
      summary: 'Read about a problem',
      description: 'The page behind the `type` of a problem document.',
      security: [],
      params: strict({ code: Type.String({ maxLength: 64, examples: ['invalid_token'] }) }),
      response: { 200: { description: 'What the problem means, and what to do.', content: { 'text/html': { schema: Type.String() } } } }
    },
    config: { problems: ['not_found'] }
  }, async ({ params: { code } }, reply) => {
    const page = pages.get(code)
    if (page === undefined) throw notFound()
    return reply.type('text/html; charset=utf-8').headers({ 'cache-control': 'public, max-age=3600', 'content-security-policy': policy }).send(page)
  })
}

// The page has its style within it, and nothing else.
const policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

function render (code: string, { title, status, meaning }: (typeof catalogue)[Code]): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>body { font: 1.05rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; color-scheme: light dark } code { font-size: .95em }</style>
<h1>${escapeHtml(title)}</h1>
<p>Status ${status.join(' or ')}, code <code>${code}</code></p>
<p>${escapeHtml(meaning).replaceAll(/`([^`]+)`/g, '<code>$1</code>')}</p>
</html>
`
}

// Rendered once: nothing in them depends on the request.
const pages = new Map(Object.entries(catalogue).map(([code, entry]) => [code, render(code, entry)]))

export default problems
