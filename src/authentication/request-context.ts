import type { Origin } from '../audit/events.ts'
import type { MailContext } from '../mail/mail-context.ts'
import type { QueueTicket } from '../passwords/passwords.ts'

/** What one request brings along, beside its content. */
export interface RequestContext {
  /** Where it comes from and who made it, for the audit log. */
  origin: Origin
  /** What its mails are made with. */
  mail: MailContext
  /** Its place in the hashing queue. */
  ticket: QueueTicket
}
