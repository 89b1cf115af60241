import type { Mail, MailKind } from './outbox.ts'

/** The page that the link of a mail leads to, where it has one. */
export const linkPages: Partial<Record<MailKind, string>> = {
  email_verification: 'email-verification',
  email_change: 'email-verification',
  email_changed: 'email-verification',
  password_reset: 'password-reset',
  invitation: 'password-reset',
  magic_link: 'magic-link'
}

/** Where the link of a mail leads, under the URL that the pages stand at; undefined where it has none. The token is in the fragment, which no server and no `Referer` sees. */
export function linkUrl (base: string, { kind, token }: Mail): string | undefined {
  const page = linkPages[kind]
  return page === undefined || token === undefined ? undefined : `${base}/${page}#token=${token}`
}
