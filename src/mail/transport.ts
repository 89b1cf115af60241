import { createTransport } from 'nodemailer'
import type { RenderedMail } from './rendering.ts'
import { MailDeliveryError } from './delivery-error.ts'

export interface MailTransport {
  /** Hands a mail to the server, in less than a minute; a mail of the same id is the same to whoever gets it twice. Throws a NotSent. */
  send: (id: string, letter: RenderedMail) => Promise<void>
  /** Cuts off what is under way. */
  close: () => void
}

// Milliseconds.
const step = 10_000
const whole = 45_000

/** Where a mail server is, and whether mail goes there over TLS alone; where that is left out, to another host than this one it does. */
export interface MailServer { url: string, tls: 'required' | 'optional' | undefined }

/** The way to a mail server, for `atOnce` mails at a time. `domain` is that of the ids of mails. */
export function smtpTransport ({ url, tls }: MailServer, from: { name: string, address: string }, domain: string, atOnce: number): MailTransport {
  const { protocol, hostname, port, username, password } = new URL(url)
  const host = hostname.replace(/^\[|\]$/g, '')
  const isLocal = host === 'localhost' || host === '::1' || /^127\./.test(host)
  const pool = createTransport({
    pool: true,
    host,
    ...port !== '' && { port: Number(port) },
    secure: protocol === 'smtps:',
    // Whoever is on the way could take the offer of TLS from the server's greeting, and read the links (RFC 3207
    // section 6). Where it is optional an offer is taken, and the password is still for nobody on the way.
    requireTLS: tls === 'required' || (!isLocal && (tls !== 'optional' || username !== '')),
    ...username !== '' && { auth: { user: decodeURIComponent(username), pass: decodeURIComponent(password) } },
    name: domain,
    maxConnections: atOnce,
    maxRequeues: 1,
    connectionTimeout: step,
    greetingTimeout: step,
    dnsTimeout: step / 2,
    socketTimeout: 2 * step,
    idleTimeout: step,
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
          headers: { 'Auto-Submitted': 'auto-generated', 'X-Auto-Response-Suppress': 'All', 'Content-Language': language },
          signal: AbortSignal.timeout(whole)
        })
      } catch (error) {
        throw new MailDeliveryError(error)
      }
    },
    close: () => pool.close({ force: true })
  }
}
