import { Type } from '@sinclair/typebox'
import { notFound, validationFailed } from '../../src/http/problems.ts'
import * as webhooks from '../../src/webhooks/endpoints.ts'
import { id, page, pageOf, paging } from '../schemas.ts'
import { allowMissingBody, originOf, ref, strict, type Typed } from '../typed.ts'
import { secretRotation } from './secret-rotation.ts'
import deliveries from './webhooks/deliveries.ts'
import { description, events, shared, status, url, Webhook, WebhookWithSecret } from './webhooks/schemas.ts'

/** Webhooks. */
const webhookRoutes: Typed = async (app) => {
  const common = { tags: ['Administration'], security: [{ bearer: [] }] }
  const problems = ['invalid_token', 'forbidden', 'database_unavailable'] as const
  const byId = { params: strict({ id }) }
  for (const schema of shared) app.addSchema(schema)

  const assertAllowed = (url: string) => {
    const detail = app.webhooks.refusal(url)
    if (detail !== undefined) throw validationFailed(`The URL ${detail}.`, [{ pointer: '/url', detail }])
  }

  app.get('', {
    schema: {
      ...common,
      operationId: 'listWebhooks',
      summary: 'List the webhooks',
      description: 'Lists the webhooks, newest first. A webhook is a URL to which Latchkey sends events of' +
        ' accounts and sessions.',
      querystring: strict(paging),
      response: { 200: page(Webhook) }
    },
    config: { problems }
  }, async request => {
    const { limit = 20, cursor } = request.query
    const items = await webhooks.list(app.db, { before: cursor, limit: limit + 1 })
    return pageOf(items, limit, ({ id }) => id)
  })

  app.post('', {
    schema: {
      ...common,
      operationId: 'createWebhook',
      summary: 'Create a webhook',
      description: 'From now on, each event of these types is sent to the URL at least once, in no' +
        ' particular order, and signed as Standard Webhooks specifies. The secret is shown only this once.',
      body: strict(
        { url, events, description: Type.Optional(description) },
        { examples: [{ url: url.examples[0], events: ['user.*', 'session.ended'] }] }
      ),
      response: { 201: ref(WebhookWithSecret) }
    },
    config: { problems }
  }, async (request, reply) => {
    assertAllowed(request.body.url)
    const created = await webhooks.create(app.db, request.body, app.webhooks.newSecret(), originOf(request))
    return reply.code(201).send(created)
  })

  app.get('/:id', {
    schema: {
      ...common,
      ...byId,
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
      ...byId,
      operationId: 'updateWebhook',
      summary: 'Change, pause or resume a webhook',
      description: 'Changes only the given members. Pending deliveries go to the new URL. While a webhook' +
        ' is paused, up to 100,000 deliveries are kept for 30 days. They are sent when it is active again.',
      body: strict({
        url: Type.Optional(url),
        events: Type.Optional(events),
        description: Type.Optional(description),
        status: Type.Optional(status)
      }, { examples: [{ status: 'active' }] }),
      response: { 200: ref(Webhook) }
    },
    config: { problems: [...problems, 'not_found'] }
  }, async request => {
    const { params: { id }, body: change } = request
    if (change.url !== undefined) assertAllowed(change.url)
    const webhook = Object.keys(change).length === 0
      ? await webhooks.find(app.db, id)
      : await webhooks.update(app.db, id, change, originOf(request))
    if (!webhook) throw notFound()
    return webhook
  })

  app.delete('/:id', {
    schema: {
      ...common,
      ...byId,
      operationId: 'deleteWebhook',
      summary: 'Delete a webhook',
      description: 'Deletes the webhook, its secrets and its deliveries. A delivery that is being sent may' +
        ' still arrive.',
      response: { 204: { type: 'null', description: 'The webhook was deleted.' } }
    },
    config: { problems: [...problems, 'not_found'] }
  }, async (request, reply) => {
    if (!await webhooks.deleteWebhook(app.db, request.params.id, originOf(request))) throw notFound()
    return reply.code(204).send()
  })

  app.post('/:id/secret', {
    schema: {
      ...common,
      ...byId,
      operationId: 'createWebhookSecret',
      summary: 'Rotate a webhook secret',
      description: 'Returns the webhook with a new secret, which is shown only this once. From now on' +
        ' deliveries carry two signatures, with the new and the previous secret, until the next rotation.' +
        ' With `immediately`, only the new secret signs.',
      body: secretRotation,
      response: { 201: ref(WebhookWithSecret) }
    },
    preValidation: allowMissingBody,
    config: { isBodyOptional: true, problems: [...problems, 'not_found'] }
  }, async (request, reply) => {
    const { params: { id }, body: { immediately = false } } = request
    const rotation = { newSecret: app.webhooks.newSecret(), endsOlder: immediately }
    const webhook = await webhooks.rotateSecret(app.db, id, rotation, originOf(request))
    if (!webhook) throw notFound()
    return reply.code(201).send(webhook)
  })

  await app.register(deliveries, { prefix: '/:id' })
}

export default webhookRoutes
