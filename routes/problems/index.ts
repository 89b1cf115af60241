import { Type } from '@sinclair/typebox'
import { problemDefinitions } from '../../src/capabilities.ts'
import { escapeHtml } from '../../src/http/html.ts'
import type { ProblemDefinition } from '../../src/http/problem.ts'
import { notFound } from '../../src/http/problems.ts'
import { textPage, textPageHeaders } from '../../src/http/text-page.ts'
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
      .headers({ ...textPageHeaders, 'cache-control': `public, max-age=${maxAgeSeconds}` })
      .send(page)
  })
}

const render = ({ code, title, status, meaning }: ProblemDefinition): string => textPage(title, [
  `Status ${status.join(' or ')}, code <code>${code}</code>`,
  escapeHtml(meaning).replaceAll(/`([^`]+)`/g, '<code>$1</code>')
])

// Rendered once, because nothing in a page depends on the request.
const pages = new Map<string, string>(problemDefinitions.map(problem => [problem.code, render(problem)]))

export default problemPages
