/** The type of the event that is sent on request, to try a webhook. */
export const testType = 'webhook.test'

// The trigger on the audit log has the same rule. Events that imports and attacks cause by the thousand are
// left out.
const isOffered = (type: string) =>
  (/^(user|session)\./.test(type) && type !== 'user.imported') || type === 'login.succeeded'

/** The types of events that a webhook can subscribe to. */
export const offeredTypes: readonly string[] = eventTypes.filter(isOffered)

/** What a webhook can subscribe to: types, and families of types. */
export const subscriptions: readonly string[] = [...offeredTypes, 'user.*', 'session.*']
