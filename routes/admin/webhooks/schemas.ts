import { Type } from '@sinclair/typebox'
import { auditEventTypes } from '../../../src/capabilities.ts'
import { offeredTypes, subscriptions, testType } from '../../../src/webhooks/events.ts'
import { deliveryErrors } from '../../../src/webhooks/request.ts'
import { orNull, time } from '../../schemas.ts'
import { strict, text } from '../../typed.ts'

const oneOf = <const Words extends readonly string[]>(words: Words, description: string) =>
  Type.Unsafe<Words[number]>({ type: 'string', enum: [...words], description })
const timeOrNull = (description: string) => orNull<Date>({ type: 'string', format: 'date-time' }, description)

export const url = text(1, 2048, {
  pattern: '^[^\\s\\p{Cc}\\p{Cs}]+$',
  description: 'The URL to send to. It must use https and a public address, unless the operator allows' +
    ' others.',
  examples: ['https://orders.example.com/hooks/latchkey']
})
const eventType = Type.Unsafe<string>({ type: 'string', enum: subscriptions(auditEventTypes) })
export const events = Type.Array(eventType, {
  minItems: 1,
  maxItems: 50,
  description: 'The types of events to send. `user.*` and `session.*` include all types of a family, even' +
    ' those of later versions.',
  examples: [['user.*', 'session.ended']]
})
export const description = Type.Unsafe<string | null>({
  ...text(1, 200), type: ['string', 'null'], description: 'What the webhook is for.', examples: ['Orders']
})
export const status = oneOf(
  ['active', 'paused'], 'Whether deliveries are sent. While the webhook is paused, they are kept.')

const pausedReasons = ['asked', 'failing', 'gone'] as const
const webhook = {
  id: Type.String({ format: 'uuid' }),
  url: Type.String({ description: 'The URL to send to.' }),
  events: Type.Array(Type.String(), { description: 'The types of events to send.' }),
  description: orNull<string>({ type: 'string' }, 'What the webhook is for; null if not given.'),
  status,
  paused_at: timeOrNull('When the webhook was paused; null while it is active.'),
  paused_reason: orNull<typeof pausedReasons[number]>({ type: 'string', enum: [...pausedReasons] },
    'Why the webhook is paused. `asked`: by an administrator. `failing`: all deliveries failed for a day,' +
    ' with at least 20 attempts. `gone`: it responded with status 410.'),
  failing_since: timeOrNull('When the first attempt since the last success failed; null if none failed.'),
  created_at: time('When the webhook was created.'),
  updated_at: time('When the webhook was last changed.')
}
const webhookExample = {
  id: '0199e8f2-6c1e-7d10-8000-0a1b2c3d4e5f',
  url: 'https://orders.example.com/hooks/latchkey',
  events: ['user.*', 'session.ended'],
  description: 'Orders',
  status: 'active',
  paused_at: null,
  paused_reason: null,
  failing_since: null,
  created_at: '2026-11-22T09:00:00.000Z',
  updated_at: '2026-11-22T09:00:00.000Z'
}

export const Webhook = strict(webhook, { $id: 'Webhook', examples: [webhookExample] })

export const WebhookWithSecret = strict({
  ...webhook,
  secret: Type.String({
    description: 'The secret that signs the deliveries (Standard Webhooks). It is shown only this once.'
  })
}, { $id: 'WebhookWithSecret', examples: [{ ...webhookExample, secret: 'whsec_AQIDBAUG…' }] })

export const deliveryType = oneOf([...offeredTypes(auditEventTypes), testType], 'The type of the event.')
export const deliveryStatus = oneOf(['pending', 'delivered', 'failed'],
  '`pending` until the last attempt, `delivered` after a 2xx response, or `failed`.')
const responseStatus = orNull<number>(
  { type: 'integer' }, 'The status of the response; null if there was none.')
const error = orNull<string>({ type: 'string', enum: [...deliveryErrors, 'dropped'] },
  'What went wrong; null if nothing did. `private_address`: the host has no public address. `unresolved`:' +
  ' the host name has no address. `connection`: the connection failed. `tls`: TLS failed.' +
  ' `certificate_expired`, `certificate_name`, `certificate_untrusted`: the certificate is not valid now,' +
  ' is for another name, or is not from a trusted authority. `timeout`: no response within 10 seconds.' +
  ' `status`: the response was not 2xx. `secret`: no `KEY_ENCRYPTION_KEY` unseals the secret, so the' +
  ' delivery cannot be signed. `dropped`: too many deliveries were pending.')

const delivery = {
  id: Type.String({
    format: 'uuid', description: 'The `webhook-id` of its requests, the same in every attempt.'
  }),
  type: Type.String({ description: 'The type of the event.' }),
  status: deliveryStatus,
  created_at: time('When the event happened.'),
  attempts: Type.Integer({ description: 'How many attempts were made.' }),
  next_attempt_at: timeOrNull('The time of the next attempt; null if there is none.'),
  finished_at: timeOrNull('When the delivery succeeded or failed; null while it is pending.'),
  response_status: responseStatus,
  error
}
const deliveryExample = {
  id: '0199e8f2-6c1f-7000-8000-0a1b2c3d4e5f',
  type: 'session.ended',
  status: 'pending',
  created_at: '2026-11-22T09:00:00.000Z',
  attempts: 1,
  next_attempt_at: '2026-11-22T09:00:05.000Z',
  finished_at: null,
  response_status: 503,
  error: 'status'
}
const dataExample = {
  id: '0199e8f2-6c1f-7000-8000-000000000001',
  user_id: '0199e8f2-6c1a-7b3e-9d5f-0a1b2c3d4e5f',
  session_id: '0199e8f2-6c1b-7000-8000-0a1b2c3d4e5f',
  actor_id: null,
  client_id: null,
  detail: { reason: 'logout' }
}
const attemptExample = {
  created_at: '2026-11-22T09:00:00.250Z', milliseconds: 31, response_status: 503, error: 'status'
}

export const Delivery = strict(delivery, { $id: 'WebhookDelivery', examples: [deliveryExample] })

export const DeliveryWithLog = strict({
  ...delivery,
  data: Type.Unsafe<Record<string, unknown>>({
    type: 'object', additionalProperties: true, description: 'The `data` of the event.'
  }),
  log: Type.Array(strict({
    created_at: time('When the attempt ended.'),
    milliseconds: Type.Integer({ description: 'How long the attempt took.' }),
    response_status: responseStatus,
    error
  }), { description: 'The attempts, the newest first.' })
}, {
  $id: 'WebhookDeliveryWithLog',
  examples: [{ ...deliveryExample, data: dataExample, log: [attemptExample] }]
})

/** The schemas to register with the server by their `$id`. */
export const shared = [Webhook, WebhookWithSecret, Delivery, DeliveryWithLog]
