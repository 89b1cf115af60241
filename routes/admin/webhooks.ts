import { Type } from '@sinclair/typebox'
import { notFound, validationFailed } from '../../src/http/problem.ts'
import * as webhooks from '../../src/webhooks/endpoints.ts'
import { id, page, pageOf, paging } from '../schemas.ts'
import { noBody, originOf, ref, strict, type Typed } from '../typed.ts'
import deliveries from './webhooks/deliveries.ts'
import { description, events, shared, status, url, Webhook, WebhookWithSecret } from './webhooks/schemas.ts'

/** The webhooks. */
const webhookRoutes: Typed = async (app) => {
  const common = { tags: ['Administration'], security: [{ bearer: [] }] }
  const problems = ['invalid_token', 'forbidden', 'database_unavailable'] as const
  const one = { params: strict({ id }) }
  for (const schema of shared) app.addSchema(schema)

  const checked = (url: string) => {
    const detail = app.webhooks.refusal(url)
    if (detail !== undefined) throw validationFailed(`The URL ${detail}.`, [{ pointer: '/url', detail }])
    return url
  }

  app.get('', {
    schema: {
      ...common,
      operationId: 'listWebhooks',
      summary: 'List the webhooks',
      description: 'Where news of accounts and sessions is sent to, the newest first.',
      querystring: strict(paging),
      response: { 200: page(Webhook) }
    },
    config: { problems }
  }, async request => {
    const { limit = 20, cursor } = request.query
    const found = await webhooks.list(app.db, { before: cursor, limit: limit + 1 })
    return pageOf(found, limit, ({ id }) => id)
  })

  app.post('', {
    schema: {
      ...common,
      operationId: 'createWebhook',
      summary: 'Make a webhook',
      description: 'From now on each event of these types is posted to the URL at least once, in no certain order, signed by Standard Webhooks. The secret is shown this once.',
      body: strict({ url, events, description: Type.Optional(description) }, { examples: [{ url: 'https://orders.example.com/hooks/latchkey', events: ['user.*', 'session.ended'] }] }),
      response: { 201: ref(WebhookWithSecret) }
    },
    config: { problems }
  }, async (request, reply) => {
    const { url, ...rest } = request.body
    return reply.code(201).send(await webhooks.create(app.db, { url: checked(url), ...rest }, app.webhooks.newSecret(), originOf(request)))
  })

  app.get('/:id', {
    schema: {
      ...common,
      ...one,
      operationId: 'getWebhook',
      summary: 'Read a webhook',
      response: { 200: ref(Webhook) }
    },
    config: { problems: [...problems, 'not_found'] }
  }, async request => {
    const webhook = await webhooks.find(app.db, request.params.id)
    if (!webhook) throw notFound()
    return webhook
  })

  app.patch('/:id', {
    schema: {
      ...common,
      ...one,
      operationId: 'updateWebhook',
      summary: 'Change, pause or resume a webhook',
      description: 'Changes what is named and nothing else. What waits goes to the new URL. While it is paused deliveries are kept, for 30 days and up to 100,000; when it is active again they are sent.',
      body: strict({ url: Type.Optional(url), events: Type.Optional(events), description: Type.Optional(description), status: Type.Optional(status) }, { examples: [{ status: 'active' }] }),
      response: { 200: ref(Webhook) }
    },
    config: { problems: [...problems, 'not_found'] }
  }, async request => {
    const { params: { id }, body: { url, ...rest } } = request
    const change = { ...rest, ...url !== undefined && { url: checked(url) } }
    const webhook = Object.keys(change).length === 0 ? await webhooks.find(app.db, id) : await webhooks.update(app.db, id, change, originOf(request))
    if (!webhook) throw notFound()
    app.jobs.wake('webhook')
    return webhook
  })

  app.delete('/:id', {
    schema: {
      ...common,
      ...one,
      operationId: 'deleteWebhook',
      summary: 'Delete a webhook',
      description: 'The webhook, its secrets and its deliveries are gone; what is under way may still arrive.',
      response: { 204: { type: 'null', description: 'The webhook is gone.' } }
    },
    config: { problems: [...problems, 'not_found'] }
  }, async (request, reply) => {
    if (!await webhooks.remove(app.db, request.params.id, originOf(request))) throw notFound()
    return reply.code(204).send()
  })

  app.post('/:id/secret', {
    schema: {
      ...common,
      ...one,
      operationId: 'createWebhookSecret',
      summary: 'Give a webhook a new secret',
      description: 'Gives the webhook with the secret, which is shown this once. From now on deliveries have two signatures, also that of the secret before, until the next is made; with `immediately` the new one alone signs.',
      body: strict({ immediately: Type.Optional(Type.Boolean({ description: 'Whether the older secrets end now.', default: false })) }, { examples: [{}, { immediately: true }] }),
      response: { 201: ref(WebhookWithSecret) }
    },
    preValidation: noBody,
    config: { optionalBody: true, problems: [...problems, 'not_found'] }
  }, async (request, reply) => {
    const { params: { id }, body: { immediately = false } } = request
    const webhook = await webhooks.addSecret(app.db, id, app.webhooks.newSecret(), { replace: immediately }, originOf(request))
    if (!webhook) throw notFound()
    app.jobs.wake('webhook')
    return reply.code(201).send(webhook)
  })

  await app.register(deliveries, { prefix: '/:id' })
}

export default webhookRoutes
