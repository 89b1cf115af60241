// Replies of mail servers. Many servers reject the client or the sender only when they are told a recipient.

// The enhanced codes of RFC 3463 and 7505 that are certainly about the recipient: no such mailbox, wrong
// syntax, a mailbox that has moved, a domain that takes no mail, and a mailbox that is switched off.
const recipientCodes = ['5.1.1', '5.1.3', '5.1.6', '5.1.10', '5.2.1']
// Codes that say nothing, so that the text decides.
const vagueCodes = ['5.0.0', '5.1.0']
const qmailCode = /\(#(5\.\d{1,3}\.\d{1,3})\)/
const unknownRecipient = new RegExp(
  '\\b(?:no such (?:user|recipient|mailbox|account|person)|' +
  '(?:user|recipient|mailbox|account) (?:is )?(?:unknown|not found|does(?: not|n\'t) exist)|' +
  'unknown (?:user|recipient|mailbox)|no mailbox (?:here )?by that name|' +
  'invalid (?:recipient|mailbox))\\b', 'i')

/** Whether the rejection of a recipient is certainly about the recipient. */
export function isAboutRecipient (response: string): boolean {
  // A server that verifies the sender may say that there is no such user: it means the sender.
  if (/\bsender\b/i.test(response)) return false
  const [, code] = /^\d{3}[ -](5\.\d{1,3}\.\d{1,3})\b/.exec(response) ?? qmailCode.exec(response) ?? []
  if (code !== undefined && !vagueCodes.includes(code)) return recipientCodes.includes(code)
  return unknownRecipient.test(response)
}

const maxLength = 200

/**
 * Returns a reply in one line for the log, without addresses and links, and without the name of the
 * recipient's mailbox.
 */
export function withoutAddresses (response: string, recipient: string): string {
  const mailbox = recipient.slice(0, recipient.lastIndexOf('@'))
  const words = response.replaceAll(/[\p{C}\s]+/gu, ' ').trim().split(' ')
    .map(word => /@|:\/\/|lkl_/.test(word) ? '…' : word)
  const line = words.join(' ')
  const anonymous = mailbox.length > 1 ? line.replaceAll(mailbox, '…') : line
  return anonymous.slice(0, maxLength)
}
