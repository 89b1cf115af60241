import type { Mail, MailKind } from './outbox.ts'

/** The page that the link of a mail opens. Mails of the other kinds have no link. */
export const linkPages: Partial<Record<MailKind, string>> = {
  email_verification: 'email-verification',
  email_change: 'email-verification',
  email_changed: 'email-verification',
  password_reset: 'password-reset',
  invitation: 'password-reset',
  magic_link: 'magic-link'
}

/**
 * Returns the URL of a mail's link under the URL of the pages; undefined if the mail has no link. The token
 * is in the fragment, which browsers send neither to a server nor in `Referer`.
 */
export function linkUrl (linksUrl: string, { kind, token }: Mail): string | undefined {
  const page = linkPages[kind]
  return page === undefined || token === undefined ? undefined : `${linksUrl}/${page}#token=${token}`
}
