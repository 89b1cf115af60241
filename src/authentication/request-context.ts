import type { Origin } from '../audit/events.ts'
import type { MailContext } from '../mail/mail-context.ts'
import type { QueueTicket } from '../passwords/passwords.ts'

/** The context of a request: what the domain functions need in addition to its content. */
export interface RequestContext {
  /** Where the request comes from and who sent it, for the audit log. */
  origin: Origin
  /** What its mails are rendered and limited with. */
  mail: MailContext
  /** Its place in the hashing queue. */
  ticket: QueueTicket
}
