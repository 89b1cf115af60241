import { Type } from '@sinclair/typebox'
import { notFound } from '../../../src/http/problem.ts'
import * as webhooks from '../../../src/webhooks/endpoints.ts'
import * as deliveries from '../../../src/webhooks/deliveries.ts'
import { id, page, pageOf, paging } from '../../schemas.ts'
import { noBody, originOf, ref, strict, type Typed } from '../../typed.ts'
import { Delivery, deliveryStatus, deliveryType, DeliveryWithLog } from './schemas.ts'

/** What is sent to a webhook, and what has become of it. */
const deliveryRoutes: Typed = async (app) => {
  const common = { tags: ['Administration'], security: [{ bearer: [] }] }
  const config = { problems: ['invalid_token', 'forbidden', 'database_unavailable', 'not_found'] } as const
  const one = { params: strict({ id, delivery_id: id }) }

  app.post('/test', {
    schema: {
      ...common,
      params: strict({ id }),
      operationId: 'testWebhook',
      summary: 'Try a webhook out',
      description: 'Sends an event of the type `webhook.test`, and gives its delivery: read that to see what became of it.',
      body: strict({}, { examples: [{}] }),
      response: { 202: ref(Delivery) }
    },
    preValidation: noBody,
    config: { ...config, optionalBody: true }
  }, async (request, reply) => {
    const delivery = await deliveries.test(app.db, request.params.id, originOf(request))
    if (!delivery) throw notFound()
    app.jobs.wake('webhook')
    return reply.code(202).send(delivery)
  })

  app.get('/deliveries', {
    schema: {
      ...common,
      params: strict({ id }),
      operationId: 'listWebhookDeliveries',
      summary: 'List the deliveries of a webhook',
      description: 'Those of the last 30 days, the newest first.',
      querystring: strict({ status: Type.Optional(deliveryStatus), type: Type.Optional(deliveryType), ...paging }),
      response: { 200: page(Delivery) }
    },
    config
  }, async request => {
    const { params: { id }, query: { limit = 20, cursor, status, type } } = request
    if (!await webhooks.find(app.db, id)) throw notFound()
    const found = await deliveries.list(app.db, id, { status, type, before: cursor, limit: limit + 1 })
    return pageOf(found, limit, ({ id }) => id)
  })

  app.get('/deliveries/:delivery_id', {
    schema: {
      ...common,
      ...one,
      operationId: 'getWebhookDelivery',
      summary: 'Read a delivery',
      description: 'With what is sent, and its last hundred attempts.',
      response: { 200: ref(DeliveryWithLog) }
    },
    config
  }, async request => {
    const { id, delivery_id: deliveryId } = request.params
    const delivery = await deliveries.find(app.db, id, deliveryId)
    if (!delivery) throw notFound()
    return delivery
  })

  app.post('/deliveries/:delivery_id/redeliver', {
    schema: {
      ...common,
      ...one,
      operationId: 'redeliverWebhook',
      summary: 'Send a delivery once more',
      description: 'Whatever became of it, it is tried again from the start, with the same `webhook-id`; once the webhook is active, where it is paused.',
      body: strict({}, { examples: [{}] }),
      response: { 202: ref(Delivery) }
    },
    preValidation: noBody,
    config: { ...config, optionalBody: true }
  }, async (request, reply) => {
    const { id, delivery_id: deliveryId } = request.params
    const delivery = await deliveries.repeat(app.db, id, deliveryId, originOf(request))
    if (!delivery) throw notFound()
    app.jobs.wake('webhook')
    return reply.code(202).send(delivery)
  })
}

export default deliveryRoutes
