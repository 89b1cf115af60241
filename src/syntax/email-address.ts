import { domainToASCII } from 'node:url'

/** An address to send mail to, and the form in which addresses are compared. */
export interface EmailAddress { address: string, canonical: string }

// The dot-atom of RFC 5322 with the letters of RFC 6531; neither quoted strings nor comments nor address literals.
const local = /^[\p{L}\p{M}\p{N}!#$%&'*+/=?^_`{|}~-]+(?:\.[\p{L}\p{M}\p{N}!#$%&'*+/=?^_`{|}~-]+)*$/u
// Kept from the conversion to ASCII, which reads a URL's host and stops where that ends.
const foreign = /[\s/?#\\:@%[\]<>^|]/
const domain = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])$/

/**
 * Reads an e-mail address, undefined where it is none. Unicode is normalised before it is judged; the domain
 * is lower-cased and in ASCII; the local part is kept as given and compared without regard to case. Dots and
 * plus signs mean what the mailbox's owner makes of them: nothing is folded.
 */
export function parse (text: string): EmailAddress | undefined {
  const normal = text.trim().normalize('NFKC')
  const at = normal.lastIndexOf('@')
  const mailbox = normal.slice(0, at)
  const given = normal.slice(at + 1)
  const host = foreign.test(given) ? '' : domainToASCII(given)
  if (at < 1 || !local.test(mailbox) || Buffer.byteLength(mailbox) > 64) return undefined
  if (!domain.test(host) || mailbox.length + host.length > 253) return undefined
  return { address: `${mailbox}@${host}`, canonical: `${mailbox.toLowerCase().normalize('NFKC')}@${host}` }
}
