import { Type } from '@sinclair/typebox'
import { auditEventTypes } from '../../../src/capabilities.ts'
import { eventChoices, offeredTypes, testType } from '../../../src/webhooks/events.ts'
import { faults } from '../../../src/webhooks/request.ts'
import { orNull, time } from '../../schemas.ts'
import { strict, text } from '../../typed.ts'

const word = <const Words extends readonly string[]>(words: Words, description: string) => Type.Unsafe<Words[number]>({ type: 'string', enum: [...words], description })

/** What is set of a webhook. */
export const url = text(1, 2048, { pattern: '^[^\\s\\p{Cc}\\p{Cs}]+$', description: 'Where it is posted to: https, and on the internet, unless the operator allows others.', examples: ['https://orders.example.com/hooks/latchkey'] })
export const events = Type.Array(Type.Unsafe<string>({ type: 'string', enum: eventChoices(auditEventTypes) }), { minItems: 1, maxItems: 50, description: 'The types of events that are sent, or `user.*` or `session.*` for all of a family, also those of later versions.', examples: [['user.*', 'session.ended']] })
export const description = Type.Unsafe<string | null>({ ...text(1, 200), type: ['string', 'null'], description: 'What it is for.', examples: ['Orders'] })
export const status = word(['active', 'paused'], 'Whether anything is sent. While it is paused, deliveries are kept.')

const webhook = {
  id: Type.String({ format: 'uuid' }),
  url: Type.String({ description: 'Where it is posted to.' }),
  events: Type.Array(Type.String(), { description: 'What is sent.' }),
  description: orNull<string>({ type: 'string' }, 'What it is for; null where that was not said.'),
  status,
  paused_at: orNull<Date>({ type: 'string', format: 'date-time' }, 'Since when nothing is sent.'),
  paused_reason: orNull<'asked' | 'failing' | 'gone'>({ type: 'string', enum: ['asked', 'failing', 'gone'] }, 'Why: an administrator asked for it, nothing reached it for a day and 20 attempts, or it answered 410.'),
  failing_since: orNull<Date>({ type: 'string', format: 'date-time' }, 'When the first of the attempts failed that have since the last success.'),
  created_at: time('When it was made.'),
  updated_at: time('When it was changed last.')
}
const webhookExample = {
  id: '0199e8f2-6c1e-7d10-8000-0a1b2c3d4e5f', url: 'https://orders.example.com/hooks/latchkey', events: ['user.*', 'session.ended'], description: 'Orders', status: 'active', paused_at: null, paused_reason: null, failing_since: null, created_at: '2026-11-22T09:00:00.000Z', updated_at: '2026-11-22T09:00:00.000Z'
}

export const Webhook = strict(webhook, { $id: 'Webhook', examples: [webhookExample] })

export const WebhookWithSecret = strict({
  ...webhook,
  secret: Type.String({ description: 'What its deliveries are signed with (Standard Webhooks). Shown this once.' })
}, { $id: 'WebhookWithSecret', examples: [{ ...webhookExample, secret: 'whsec_AQIDBAUG…' }] })

export const deliveryType = word([...offeredTypes(auditEventTypes), testType], 'The type of the event.')
export const deliveryStatus = word(['pending', 'delivered', 'failed'], 'Whether it is still tried, was answered 2xx, or was given up.')
const response = orNull<number>({ type: 'integer' }, 'The status that was answered; null where nothing was.')
const error = orNull<string>({ type: 'string', enum: [...faults, 'dropped'] }, 'What went wrong: the host has no public address, or none at all; there was no connection, no TLS; the certificate is too old, for another name, or from nobody who is trusted; there was no answer in 10 seconds; the answer was not 2xx; no KEY_ENCRYPTION_KEY opens the secret any more, so that it cannot be signed; or too many deliveries waited. Null where nothing did.')

const delivery = {
  id: Type.String({ format: 'uuid', description: '`webhook-id` of its requests, the same in every attempt.' }),
  type: Type.String({ description: 'The type of the event.' }),
  status: deliveryStatus,
  created_at: time('When the event happened.'),
  attempts: Type.Integer({ description: 'How often it was tried.' }),
  next_attempt_at: orNull<Date>({ type: 'string', format: 'date-time' }, 'When it is tried next; null where it is not.'),
  finished_at: orNull<Date>({ type: 'string', format: 'date-time' }, 'When it was delivered or given up.'),
  response_status: response,
  error
}
const deliveryExample = {
  id: '0199e8f2-6c1f-7000-8000-0a1b2c3d4e5f', type: 'session.ended', status: 'pending', created_at: '2026-11-22T09:00:00.000Z', attempts: 1, next_attempt_at: '2026-11-22T09:00:05.000Z', finished_at: null, response_status: 503, error: 'status'
}

export const Delivery = strict(delivery, { $id: 'WebhookDelivery', examples: [deliveryExample] })

export const DeliveryWithLog = strict({
  ...delivery,
  data: Type.Unsafe<Record<string, unknown>>({ type: 'object', additionalProperties: true, description: '`data` of what is sent.' }),
  log: Type.Array(strict({
    created_at: time('When it ended.'),
    milliseconds: Type.Integer({ description: 'How long it took.' }),
    response_status: response,
    error
  }), { description: 'The attempts, the newest first.' })
}, {
  $id: 'WebhookDeliveryWithLog',
  examples: [{
    ...deliveryExample,
    data: { id: '0199e8f2-6c1f-7000-8000-000000000001', user_id: '0199e8f2-6c1a-7b3e-9d5f-0a1b2c3d4e5f', session_id: '0199e8f2-6c1b-7000-8000-0a1b2c3d4e5f', actor_id: null, client_id: null, detail: { reason: 'logout' } },
    log: [{ created_at: '2026-11-22T09:00:00.250Z', milliseconds: 31, response_status: 503, error: 'status' }]
  }]
})

/** To be known to the server by their `$id`. */
export const shared = [Webhook, WebhookWithSecret, Delivery, DeliveryWithLog]
