import { certificateFault, type CertificateFault } from '../http/certificate.ts'
import { TokenRequestError } from './oauth-token.ts'
import { isAboutRecipient, withoutAddresses } from './smtp-reply.ts'

/** The properties of nodemailer's errors. */
interface SmtpError extends Error {
  code?: string
  originalCode?: string
  command?: string
  response?: string
  responseCode?: number
}

const certificateMessages: Record<CertificateFault, string> = {
  expired: 'the mail server\'s certificate has expired or is not valid yet',
  name: 'the mail server\'s certificate is for another name than the one in SMTP_URL',
  untrusted: 'the mail server\'s certificate is not from a trusted authority'
}
const tlsMissing = 'the mail server offers no TLS, but TLS is required'
const seeMail = '(docs/mail.md)'
const noPasswords = 'the mail server takes no password to sign in; it may require XOAUTH2: set ' +
  `SMTP_OAUTH_TOKEN_URL ${seeMail}`
const basicAuthenticationOff = 'Exchange Online takes no password to sign in to this mailbox: ' +
  `set SMTP_OAUTH_TOKEN_URL, or use a relay ${seeMail}`

/** A mail was not delivered to the mail server. The error contains neither the recipient nor the mail. */
export class MailDeliveryError extends Error {
  /** The reply code of the mail server; undefined if it did not reply. */
  readonly status: number | undefined
  /** Whether the server rejected the recipient for good, so that another attempt would fail too. */
  readonly isPermanent: boolean

  /** `recipient` is left out of the server's words. */
  constructor (cause: unknown, recipient = '') {
    const {
      code = 'error',
      originalCode = code,
      command = '',
      response = '',
      responseCode
    }: Partial<SmtpError> = cause instanceof Error ? cause : {}
    const reason = cause instanceof TokenRequestError
      ? cause.message
      : explain({ originalCode, command, response, responseCode })
    const details = [originalCode, responseCode, command].filter(Boolean).join(', ')
    // A later reply may quote the mail.
    const isBeforeMail = !['DATA', 'BDAT', ''].includes(command)
    const words = isBeforeMail ? withoutAddresses(response, recipient) : ''
    super(`mail not sent: ${reason === undefined ? details : `${reason} (${details})`}` +
      (words === '' ? '' : `; the mail server replied: ${words}`))
    this.name = 'MailDeliveryError'
    this.status = responseCode
    const isRejected = command === 'RCPT TO' && responseCode !== undefined && responseCode >= 500
    this.isPermanent = isRejected && isAboutRecipient(response)
  }

  /** Whether the mail server cannot be reached, so that no other mail could be sent either. */
  get isServerUnreachable () { return this.status === undefined }
}

function explain (error: Required<Pick<SmtpError, 'originalCode' | 'command' | 'response'>> & {
  responseCode: number | undefined
}): string | undefined {
  const { originalCode, command, response, responseCode } = error
  const fault = certificateFault(originalCode)
  if (fault) return certificateMessages[fault]
  if (command === 'STARTTLS' && responseCode !== undefined) return tlsMissing
  if (/^535[ -]5\.7\.139\b/.test(response)) return basicAuthenticationOff
  // RFC 4954 section 4: the server does not know the mechanism.
  return command.startsWith('AUTH ') && responseCode === 504 ? noPasswords : undefined
}
