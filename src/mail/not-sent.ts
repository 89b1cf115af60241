/** A mail that was not sent. Neither its message nor anything else of it says to whom, or what. */
export class NotSent extends Error {
  /** What the server answered, where it did. */
  readonly status: number | undefined
  /** Whether there is no such recipient, so that it is of no use to try again. */
  readonly isFinal: boolean
  /** Whether it is the server that cannot be reached: no other mail would be sent either. */
  get isAway () { return this.status === undefined }

  constructor (cause: unknown) {
    const { code = 'error', originalCode, command = '', response = '', responseCode } = cause instanceof Error ? cause as SmtpError : {} as SmtpError
    super(`The mail was not sent: ${[originalCode ?? code, responseCode, command].filter(Boolean).join(', ')}`)
    this.name = 'NotSent'
    this.status = responseCode
    // Of the enhanced codes of RFC 3463, 5.7 is not about the recipient, but about us: relaying is not allowed, or not without a login.
    this.isFinal = command === 'RCPT TO' && responseCode !== undefined && responseCode >= 500 && responseCode !== 530 && !/^\d{3}[ -]5\.7\./.test(response)
  }
}

interface SmtpError extends Error { code?: string, originalCode?: string, command?: string, response?: string, responseCode?: number }
