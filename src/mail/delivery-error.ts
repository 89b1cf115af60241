import { certificateFault, type CertificateFault } from '../http/certificate.ts'

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

// Many servers reject the client or the sender only when they are told a recipient. These responses are not
// about the recipient. Of the enhanced codes of RFC 3463, 5.1.7 and 5.1.8 are about the sender, 5.5 is about
// the protocol and 5.7 about policy. Of the codes of RFC 5321, 500 to 504 and 530 are about commands.
const notAboutRecipient = /^50[0234]|^530|^\d{3}[ -]5\.(?:[57]\.|1\.[78]\b)/

/** A mail was not delivered to the mail server. The error contains neither the recipient nor the mail. */
export class MailDeliveryError extends Error {
  /** The reply code of the mail server; undefined if it did not reply. */
  readonly status: number | undefined
  /** Whether the server rejected the recipient for good, so that another attempt would fail too. */
  readonly isPermanent: boolean

  constructor (cause: unknown) {
    const {
      code = 'error',
      originalCode = code,
      command = '',
      response = '',
      responseCode
    }: Partial<SmtpError> = cause instanceof Error ? cause : {}
    const fault = certificateFault(originalCode)
    const isTlsMissing = command === 'STARTTLS' && responseCode !== undefined
    const reason = fault ? certificateMessages[fault] : isTlsMissing ? tlsMissing : undefined
    const details = [originalCode, responseCode, command].filter(Boolean).join(', ')
    super(`mail not sent: ${reason === undefined ? details : `${reason} (${details})`}`)
    this.name = 'MailDeliveryError'
    this.status = responseCode
    const isRejected = command === 'RCPT TO' && responseCode !== undefined && responseCode >= 500
    this.isPermanent = isRejected && !notAboutRecipient.test(response)
  }

  /** Whether the mail server cannot be reached, so that no other mail could be sent either. */
  get isServerUnreachable () { return this.status === undefined }
}
