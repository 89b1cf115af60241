import { domainToASCII } from 'node:url'

/** `address` is where mail is sent to; `canonical` is the form in which addresses are compared. */
export interface EmailAddress { address: string, canonical: string }

// The dot-atom of RFC 5322 with the letters of RFC 6531. Quoted strings, comments and address literals are
// not accepted.
const atom = '[\\p{L}\\p{M}\\p{N}!#$%&\'*+/=?^_`{|}~-]+'
const localPart = new RegExp(`^${atom}(?:\\.${atom})*$`, 'u')
// `domainToASCII` parses the host of a URL, so it would stop at these characters instead of rejecting them.
const urlCharacters = /[\s/?#\\:@%[\]<>^|]/
const domain = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])$/

/**
 * Parses an email address; returns undefined if the text is none. The text is normalised to NFKC first. The
 * domain becomes lower-case ASCII (IDNA). The local part keeps its case but is compared without it. Dots and
 * plus signs are kept, because only the owner's mail server knows what they mean.
 */
export function parse (text: string): EmailAddress | undefined {
  const normalised = text.trim().normalize('NFKC')
  const at = normalised.lastIndexOf('@')
  const local = normalised.slice(0, at)
  const typedDomain = normalised.slice(at + 1)
  const host = urlCharacters.test(typedDomain) ? '' : domainToASCII(typedDomain)
  // RFC 5321 sections 4.5.3.1.1 and 4.5.3.1.3 limit the local part and the whole address.
  if (at < 1 || !localPart.test(local) || Buffer.byteLength(local) > 64) return undefined
  if (!domain.test(host) || local.length + host.length > 253) return undefined
  return { address: `${local}@${host}`, canonical: `${local.toLowerCase().normalize('NFKC')}@${host}` }
}
