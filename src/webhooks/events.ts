/** The type of the event that is sent on request, to try a webhook. */
export const testType = 'webhook.test'

// The trigger `enqueue_webhook_deliveries` has the same rule. Events that an import or an attack records by
// the thousand are not offered.
const isOffered = (type: string) =>
  (/^(user|session)\./.test(type) && type !== 'user.imported') || type === 'login.succeeded'

/** The types of audit events that a webhook can subscribe to. */
export const offeredTypes = (eventTypes: readonly string[]): string[] => eventTypes.filter(isOffered)

/** What a webhook can subscribe to: types, and families of types. */
export const subscriptions = (eventTypes: readonly string[]): string[] =>
  [...offeredTypes(eventTypes), 'user.*', 'session.*']
