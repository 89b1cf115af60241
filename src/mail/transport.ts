import { createTransport } from 'nodemailer'
import { MailDeliveryError } from './delivery-error.ts'
import { requestToken, type OAuthClient } from './oauth-token.ts'
import type { RenderedMail } from './rendering.ts'

export interface MailTransport {
  /**
   * Sends a mail to the server within 45 seconds. The message id is derived from `id`, so a mail that is sent
   * twice can be recognised. Throws a MailDeliveryError.
   */
  send: (id: string, mail: RenderedMail) => Promise<void>
  /** Connects and signs in, and sends nothing. Throws a MailDeliveryError. */
  verify: () => Promise<void>
  /** Closes all connections, and aborts what is being sent. */
  close: () => void
}

export interface MailServer {
  url: string
  /** Undefined requires TLS unless the server runs on this host. */
  tls: 'required' | 'optional' | undefined
  /** Signs in with its access tokens (XOAUTH2) rather than with a password. */
  oauth?: OAuthClient | undefined
}

export interface SmtpOptions extends MailServer {
  from: { name: string, address: string }
  /** The domain in message ids. */
  domain: string
  maxConnections: number
}

const stepTimeoutMs = 10_000
const sendTimeoutMs = 45_000

/** Creates a transport that sends mails to an SMTP server over pooled connections. */
export function smtpTransport (
  { url, tls, oauth, from, domain, maxConnections }: SmtpOptions
): MailTransport {
  const { protocol, hostname, port, username, password } = new URL(url)
  const host = hostname.replace(/^\[|\]$/g, '')
  const [user, pass] = [decodeURIComponent(username), decodeURIComponent(password)]
  const isLocal = host === 'localhost' || host === '::1' || /^127\./.test(host)
  const pool = createTransport({
    pool: true,
    host,
    ...port !== '' && { port: Number(port) },
    secure: protocol === 'smtps:',
    // An attacker on the network can remove the offer of STARTTLS from the server's greeting and read the
    // links (RFC 3207 section 6). If TLS is optional, an offer is taken, but a password is never sent in
    // clear.
    requireTLS: tls === 'required' || (!isLocal && (tls !== 'optional' || username !== '')),
    ...username !== '' && { auth: oauth ? tokenAuthentication(user, oauth) : { user, pass } },
    name: domain,
    maxConnections,
    maxRequeues: 1,
    connectionTimeout: stepTimeoutMs,
    greetingTimeout: stepTimeoutMs,
    dnsTimeout: stepTimeoutMs / 2,
    socketTimeout: 2 * stepTimeoutMs,
    idleTimeout: stepTimeoutMs,
    disableFileAccess: true,
    disableUrlAccess: true
  })
  return {
    async send (id, { to, language, subject, text, html }) {
      try {
        await pool.sendMail({
          from,
          to: { name: '', address: to },
          envelope: { from: from.address, to: [to] },
          messageId: `<${id}@${domain}>`,
          subject,
          text,
          html,
          xMailer: false,
          headers: {
            // RFC 3834: automatic responders must not answer.
            'Auto-Submitted': 'auto-generated',
            'X-Auto-Response-Suppress': 'All',
            'Content-Language': language
          },
          signal: AbortSignal.timeout(sendTimeoutMs)
        })
      } catch (error) {
        throw new MailDeliveryError(error, to)
      }
    },
    async verify () {
      try {
        await pool.verify()
      } catch (error) {
        throw new MailDeliveryError(error)
      }
    },
    close: () => pool.close({ force: true })
  }
}

const tokenAuthentication = (user: string, client: OAuthClient) => ({
  type: 'OAuth2' as const,
  user,
  provisionCallback (
    _user: string, _isRenewed: boolean, done: (error: Error | null, token?: string, expires?: number) => void
  ) {
    requestToken(client).then(({ token, expiresAt }) => done(null, token, expiresAt), done)
  }
})
