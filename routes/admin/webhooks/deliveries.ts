import { Type } from '@sinclair/typebox'
import { notFound } from '../../../src/http/problems.ts'
import * as deliveries from '../../../src/webhooks/deliveries.ts'
import * as webhooks from '../../../src/webhooks/endpoints.ts'
import { id, page, pageOf, paging } from '../../schemas.ts'
import { allowMissingBody, originOf, ref, strict, type Typed } from '../../typed.ts'
import { Delivery, deliveryStatus, deliveryType, DeliveryWithLog } from './schemas.ts'

/** The deliveries of a webhook. */
const deliveryRoutes: Typed = async (app) => {
  const common = { tags: ['Administration'], security: [{ bearer: [] }] }
  const config = { problems: ['invalid_token', 'forbidden', 'database_unavailable', 'not_found'] } as const
  const byId = { params: strict({ id, delivery_id: id }) }

  app.post('/test', {
    schema: {
      ...common,
      params: strict({ id }),
      operationId: 'testWebhook',
      summary: 'Test a webhook',
      description: 'Sends an event of the type `webhook.test`, and returns its delivery. Read the delivery' +
        ' to see the result.',
      body: strict({}, { examples: [{}] }),
      response: { 202: ref(Delivery) }
    },
    preValidation: allowMissingBody,
    config: { ...config, isBodyOptional: true }
  }, async (request, reply) => {
    const delivery = await deliveries.enqueueTest(app.db, request.params.id, originOf(request))
    if (!delivery) throw notFound()
    return reply.code(202).send(delivery)
  })

  app.get('/deliveries', {
    schema: {
      ...common,
      params: strict({ id }),
      operationId: 'listWebhookDeliveries',
      summary: 'List the deliveries of a webhook',
      description: 'Lists the deliveries of the last 30 days, newest first.',
      querystring: strict({
        status: Type.Optional(deliveryStatus), type: Type.Optional(deliveryType), ...paging
      }),
      response: { 200: page(Delivery) }
    },
    config
  }, async request => {
    const { params: { id }, query: { limit = 20, cursor, status, type } } = request
    if (!await webhooks.find(app.db, id)) throw notFound()
    const items = await deliveries.list(app.db, id, { status, type, before: cursor, limit: limit + 1 })
    return pageOf(items, limit, ({ id }) => id)
  })

  app.get('/deliveries/:delivery_id', {
    schema: {
      ...common,
      ...byId,
      operationId: 'getWebhookDelivery',
      summary: 'Read a delivery',
      description: 'The response includes the data of the event and the last 100 attempts.',
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
      ...byId,
      operationId: 'redeliverWebhook',
      summary: 'Send a delivery again',
      description: 'Sends the delivery again with the same `webhook-id`, in any status. If the' +
        ' webhook is paused, the delivery is sent when the webhook is active again.',
      body: strict({}, { examples: [{}] }),
      response: { 202: ref(Delivery) }
    },
    preValidation: allowMissingBody,
    config: { ...config, isBodyOptional: true }
  }, async (request, reply) => {
    const { id, delivery_id: deliveryId } = request.params
    const delivery = await deliveries.redeliver(app.db, id, deliveryId, originOf(request))
    if (!delivery) throw notFound()
    return reply.code(202).send(delivery)
  })
}

export default deliveryRoutes
