import { problemDefinitions } from '../capabilities.ts'
import { oauthErrors } from '../http/oauth-error.ts'

/** The schemas of the API document for failures. */
export const failureSchemas = {
  Violation: {
    type: 'object',
    description: 'An offending place in the request.',
    required: ['pointer', 'detail'],
    properties: {
      pointer: { type: 'string', description: 'A JSON pointer (RFC 6901).', examples: ['/password'] },
      detail: { type: 'string', description: 'What is wrong there.', examples: ['is required'] }
    }
  },
  OAuthError: {
    type: 'object',
    description: 'An OAuth error (RFC 6749 section 5.2).',
    required: ['error'],
    properties: {
      error: { type: 'string', enum: Object.keys(oauthErrors) },
      error_description: { type: 'string', description: 'A text for developers.' }
    }
  },
  Problem: {
    type: 'object',
    description: 'A problem document (RFC 9457).',
    required: ['type', 'title', 'status', 'detail', 'instance', 'code'],
    properties: {
      type: { type: 'string', format: 'uri', description: 'The URL of a page about this kind of problem.' },
      title: { type: 'string', description: 'The kind of problem, for people.' },
      status: { type: 'integer', description: 'The HTTP status.' },
      detail: { type: 'string', description: 'What happened, and what to do.' },
      instance: { type: 'string', description: 'The id of the request, also in `x-request-id`.' },
      code: {
        type: 'string',
        enum: problemDefinitions.map(({ code }) => code),
        description: 'The kind of problem, for programs. Stable.'
      },
      ...Object.assign({}, ...problemDefinitions.map(({ members }) => members))
    }
  }
}
