import { eventTypes } from '../audit/events.ts'

/** The event that is sent on request, to try a webhook out. */
export const testType = 'webhook.test'

// The trigger on the audit log has the same rule. What an import or an attack adds by the thousand is not offered.
const isOffered = (type: string) => (/^(user|session)\./.test(type) && type !== 'user.imported') || type === 'login.succeeded'

/** The types of events that webhooks can ask for. */
export const offered: readonly string[] = eventTypes.filter(isOffered)

/** What a webhook asks for: types, and families of types. */
export const choices: readonly string[] = [...offered, 'user.*', 'session.*']
