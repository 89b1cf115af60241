import { createTopic } from '../database/effects.ts'
import type { MailFailureReason } from './failure.ts'
import type { MailKind } from './mail-kinds.ts'

/**
 * The result of a mail, or of one attempt to send it. After `failed` there is another attempt. `limited` was
 * dropped because too many were requested. `shown` was only logged, in development.
 */
export type MailResult = 'sent' | 'shown' | 'failed' | 'limited' | MailFailureReason

/** Each result of a mail. The kind of a mail that no key opens is `unknown`. */
export const mailCounted = createTopic<{ kind: MailKind | 'unknown', result: MailResult }>('mail-counted')
