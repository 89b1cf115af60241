import { Type } from '@sinclair/typebox'
import { problemDefinitions } from '../../src/capabilities.ts'
import { escapeHtml } from '../../src/http/html.ts'
import type { ProblemDefinition } from '../../src/http/problem.ts'
import { notFound } from '../../src/http/problems.ts'
import { strict, type Typed } from '../typed.ts'

const maxAgeSeconds = 3_600
const maxCodeLength = 64

/** A page for each problem. Its URL is the `type` of the problem document. */
const problemPages: Typed = async (app) => {
  app.get('/:code', {
    schema: {
      operationId: 'getProblem',
      tags: ['Problems'],
      summary: 'Read the page of a problem',
      description: 'The page whose URL is the `type` of a problem document.',
      security: [],
      params: strict({ code: Type.String({ maxLength: maxCodeLength, examples: ['invalid_token'] }) }),
      response: {
        200: {
          description: 'A page that says what happened and what to do.',
          content: { 'text/html': { schema: Type.String() } }
        }
      }
    },
    config: { problems: ['not_found'] }
  }, async ({ params: { code } }, reply) => {
    const page = pages.get(code)
    if (page === undefined) throw notFound()
    return reply
      .type('text/html; charset=utf-8')
      .headers({ 'cache-control': `public, max-age=${maxAgeSeconds}`, 'content-security-policy': policy })
      .send(page)
  })
}

// The page contains its style, and loads nothing.
const policy =
  "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
const style = 'body { font: 1.05rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; ' +
  'padding: 0 1rem; color-scheme: light dark } code { font-size: .95em }'

function render ({ code, title, status, meaning }: ProblemDefinition): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${style}</style>
<h1>${escapeHtml(title)}</h1>
<p>Status ${status.join(' or ')}, code <code>${code}</code></p>
<p>${escapeHtml(meaning).replaceAll(/`([^`]+)`/g, '<code>$1</code>')}</p>
</html>
`
}

// Rendered once, because nothing in a page depends on the request.
const pages = new Map<string, string>(problemDefinitions.map(problem => [problem.code, render(problem)]))

export default problemPages
