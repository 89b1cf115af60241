import { certificateFault, type CertificateFault } from '../http/certificate.ts'

/** A mail that was not sent. Neither its message nor anything else of it says to whom, or what. */
export class MailDeliveryError extends Error {
  /** What the server answered, where it did. */
  readonly status: number | undefined
  /** Whether there is no such recipient, so that it is of no use to try again. */
  readonly isPermanent: boolean
  /** Whether it is the server that cannot be reached: no other mail would be sent either. */
  get isServerUnreachable () { return this.status === undefined }

  constructor (cause: unknown) {
    const { code = 'error', originalCode = code, command = '', response = '', responseCode } = cause instanceof Error ? cause as SmtpError : {} as SmtpError
    const fault = certificateFault(originalCode)
    const why = fault ? certificates[fault] : command === 'STARTTLS' && responseCode !== undefined ? noTls : undefined
    super(`The mail was not sent: ${why ? `${why} (` : ''}${[originalCode, responseCode, command].filter(Boolean).join(', ')}${why ? ')' : ''}`)
    this.name = 'NotSent'
    this.status = responseCode
    this.isPermanent = command === 'RCPT TO' && responseCode !== undefined && responseCode >= 500 && !aboutUs.test(response)
  }
}

// Many servers judge the client and the sender no sooner than they hear of a recipient. Of the enhanced codes of RFC 3463
// these are about the sender (5.1.7, 5.1.8), the protocol (5.5) and what is allowed (5.7); of RFC 5321's, about commands.
const aboutUs = /^50[0234]|^530|^\d{3}[ -]5\.(?:[57]\.|1\.[78]\b)/

interface SmtpError extends Error { code?: string, originalCode?: string, command?: string, response?: string, responseCode?: number }

const certificates: Record<CertificateFault, string> = {
  expired: 'the time of the mail server\'s certificate is over, or to come',
  name: 'the mail server\'s certificate is for another name than the one in SMTP_URL',
  untrusted: 'the mail server\'s certificate is not from an authority that is trusted'
}
const noTls = 'the mail server offers no TLS, which is required to send it there'
