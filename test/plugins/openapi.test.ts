import { readFileSync } from 'node:fs'
import t from 'tap'
import { contradiction } from '../contract.ts'
import { build } from '../helper.ts'

interface Operation { operationId: string, summary: string, tags: string[], security: object[], responses: Record<string, { content?: Record<string, { schema: { allOf?: Array<{ properties?: Record<string, { enum: string[] }> }> } }> }>, requestBody?: { required: boolean, content: Record<string, { example?: object, examples?: object }> } }

/** The paths of a printed tree of routes, as the document writes them. */
function paths (tree: string): string[] {
  const above: string[] = []
  return [...tree.matchAll(/^([│ ]*)[├└]── (\S+)/gm)].map(([, indent = '', label = '']) => {
    const depth = indent.length / 4
    const parent = above[depth - 1] ?? ''
    const path = parent + (parent === '' || label.startsWith('/') || parent.endsWith('/') ? '' : '/') + label
    above.splice(depth, Infinity, path)
    return path.replaceAll(/:(\w+)/g, '{$1}')
  })
}

t.test('the API document', async t => {
  const service = await build(t, { ISSUER_URL: 'https://auth.example.com' })
  const { body: api } = await service.browser().get('/openapi.json')
  const operations = Object.entries(api.paths as Record<string, Record<string, Operation>>).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ path, method, ...operation })))

  t.test('is the committed one', async t => {
    t.strictSame(JSON.parse(readFileSync('openapi.json', 'utf8')), api, 'else run npm run openapi')
    t.equal(api.openapi, '3.1.0')
  })

  t.test('knows every route, and the wire contract has them where they belong', async t => {
    t.strictSame(operations.map(({ method, path, operationId }) => `${method} ${path} ${operationId}`).sort(), [
      'delete /v1/admin/clients/{id} deleteClient',
      'delete /v1/admin/users/{id} deleteUser',
      'delete /v1/admin/users/{id}/sessions endUserSessions',
      'delete /v1/admin/webhooks/{id} deleteWebhook',
      'delete /v1/me deleteMe',
      'delete /v1/me/sessions endSessions',
      'delete /v1/me/sessions/{id} endSession',
      'get /.well-known/jwks.json getJwks',
      'get /.well-known/oauth-authorization-server getMetadata',
      'get /livez getLiveness',
      'get /metrics getMetrics',
      'get /oauth/revocations followRevocations',
      'get /problems/{code} getProblem',
      'get /readyz getReadiness',
      'get /v1/admin/audit-events listAuditEvents',
      'get /v1/admin/clients listClients',
      'get /v1/admin/clients/{id} getClient',
      'get /v1/admin/keys listKeys',
      'get /v1/admin/users listUsers',
      'get /v1/admin/users/{id} getUser',
      'get /v1/admin/users/{id}/sessions listUserSessions',
      'get /v1/admin/webhooks listWebhooks',
      'get /v1/admin/webhooks/{id} getWebhook',
      'get /v1/admin/webhooks/{id}/deliveries listWebhookDeliveries',
      'get /v1/admin/webhooks/{id}/deliveries/{delivery_id} getWebhookDelivery',
      'get /v1/auth/verify verify',
      'get /v1/me getMe',
      'get /v1/me/export exportMe',
      'get /v1/me/sessions listSessions',
      'patch /v1/admin/clients/{id} updateClient',
      'patch /v1/admin/users/{id} updateUser',
      'patch /v1/admin/webhooks/{id} updateWebhook',
      'patch /v1/me updateMe',
      'post /oauth/introspect introspect',
      'post /oauth/revoke revoke',
      'post /oauth/token token',
      'post /v1/admin/clients createClient',
      'post /v1/admin/clients/{id}/secret createClientSecret',
      'post /v1/admin/keys/rotate rotateKey',
      'post /v1/admin/users createUser',
      'post /v1/admin/users/{id}/password-reset resetUserPassword',
      'post /v1/admin/webhooks createWebhook',
      'post /v1/admin/webhooks/{id}/deliveries/{delivery_id}/redeliver redeliverWebhook',
      'post /v1/admin/webhooks/{id}/secret createWebhookSecret',
      'post /v1/admin/webhooks/{id}/test testWebhook',
      'post /v1/auth/email-verification requestEmailVerification',
      'post /v1/auth/email-verification/confirm confirmEmail',
      'post /v1/auth/login login',
      'post /v1/auth/logout logout',
      'post /v1/auth/magic-link requestMagicLink',
      'post /v1/auth/magic-link/confirm followMagicLink',
      'post /v1/auth/password-reset requestPasswordReset',
      'post /v1/auth/password-reset/confirm resetPassword',
      'post /v1/auth/refresh refresh',
      'post /v1/auth/register register',
      'post /v1/me/email changeEmail',
      'post /v1/me/password changePassword'
    ].sort())
    // Envoy puts the path of the original request behind this one.
    const hidden = ['/v1/auth/verify/*']
    const routes = paths(service.app.printRoutes({ commonPrefix: false })).filter(path => /^\/(v1|oauth)\//.test(path))
    const undocumented = routes.filter(path => !hidden.includes(path) && !operations.some(operation => operation.path === path))
    t.ok(routes.includes('/v1/admin/clients/{id}/secret') && routes.includes('/v1/me'), 'they are found')
    t.strictSame(undocumented, [])
  })

  t.test('says of each operation what it needs, gives, and how it fails', async t => {
    for (const { operationId, summary, tags, security, responses, requestBody } of operations) {
      t.ok(summary && tags.length === 1 && security, operationId)
      for (const status of ['400', '403', '408', '431', '500', '503']) t.ok(status in responses, `${operationId} ${status}`)
      if (requestBody) t.ok('413' in responses && '415' in responses && Object.values(requestBody.content).every(({ example, examples }) => example ?? examples), `${operationId} has an example`)
      for (const [status, { content }] of Object.entries(responses)) {
        if (Number(status) < 400) continue
        const properties = (content?.['application/problem+json'] ?? content?.['application/json'])?.schema.allOf?.[1]?.properties
        t.ok((properties?.['code'] ?? properties?.['error'])?.enum.length, `${operationId} ${status} names its codes`)
      }
    }
    const refresh = operations.find(({ operationId }) => operationId === 'refresh')
    t.equal(refresh?.requestBody?.required, false)
    t.match(refresh?.security, [{ refreshCookie: [] }, {}])
    t.match(api.components.securitySchemes, { bearer: { type: 'http', scheme: 'bearer' }, refreshCookie: { in: 'cookie', name: '__Host-refresh_token' }, registrationCookie: { in: 'cookie', name: '__Host-registration' } })
  })

  t.test('is held against every answer of these tests', async t => {
    const answer = { status: 418, headers: { 'content-type': 'application/json' }, cookies: [], text: '{}', body: {} }
    t.match(contradiction(service.app, 'GET', '/v1/me', answer), /does not know this status/)
    t.match(contradiction(service.app, 'GET', '/v1/me', { ...answer, status: 200 }), /says otherwise/)
    t.match(contradiction(service.app, 'GET', '/v1/me', { ...answer, status: 401, headers: { 'content-type': 'application/problem+json' }, body: { type: 'https://x.example/', title: '', status: 401, detail: '', instance: '', code: 'email_taken' } }), /says otherwise/)
  })
})

t.test('the documentation page', async t => {
  const { browser } = await build(t)

  t.test('is served with all it needs, and a policy under which it runs', async t => {
    const page = await browser().get('/docs')
    t.match(page, { status: 200, headers: { 'content-type': /^text\/html/ } })
    t.match(page.headers['content-security-policy'], /script-src 'self'/)
    t.notMatch(page.headers['content-security-policy'], /unsafe-eval|upgrade-insecure-requests/)
    for (const [, path = ''] of page.text.matchAll(/(?:src|href)="\.\/([^"]+)"/g)) {
      t.match(await browser().get(`/docs/${path}`), { status: 200 }, path)
    }
  })
})
