import { certificateFault, type CertificateFault } from '../certificate.ts'

/** A mail that was not sent. Neither its message nor anything else of it says to whom, or what. */
export class NotSent extends Error {
  /** What the server answered, where it did. */
  readonly status: number | undefined
  /** Whether there is no such recipient, so that it is of no use to try again. */
  readonly isFinal: boolean
  /** Whether it is the server that cannot be reached: no other mail would be sent either. */
  get isAway () { return this.status === undefined }

  constructor (cause: unknown) {
    const { code = 'error', originalCode = code, command = '', response = '', responseCode } = cause instanceof Error ? cause as SmtpError : {} as SmtpError
    const fault = certificateFault(originalCode)
    const why = fault ? certificates[fault] : command === 'STARTTLS' && responseCode !== undefined ? noTls : undefined
    super(`The mail was not sent: ${why ? `${why} (` : ''}${[originalCode, responseCode, command].filter(Boolean).join(', ')}${why ? ')' : ''}`)
    this.name = 'NotSent'
    this.status = responseCode
    // Of the enhanced codes of RFC 3463, 5.7 is not about the recipient, but about us: relaying is not allowed, or not without a login.
    this.isFinal = command === 'RCPT TO' && responseCode !== undefined && responseCode >= 500 && responseCode !== 530 && !/^\d{3}[ -]5\.7\./.test(response)
  }
}

interface SmtpError extends Error { code?: string, originalCode?: string, command?: string, response?: string, responseCode?: number }

const certificates: Record<CertificateFault, string> = {
  expired: 'the time of the mail server\'s certificate is over, or to come',
  name: 'the mail server\'s certificate is for another name than the one in SMTP_URL',
  untrusted: 'the mail server\'s certificate is not from an authority that is trusted'
}
const noTls = 'the mail server offers no TLS, which is required to send it there'
