import Mustache from 'mustache'
import type { Job } from '../jobs/queue.ts'
import type { Language } from '../http/language.ts'
import { blocksIn } from './blocks.ts'
import type { MailBrand } from './mail-brand.ts'
import type { Mail } from './outbox.ts'
import { linkUrl } from './link-url.ts'
import type { MailRecipient } from './recipient.ts'
import type { MailTemplates } from './templates.ts'

/** A mail that can be sent. */
export interface RenderedMail {
  to: string
  language: Language
  subject: string
  text: string
  html: string
  link: string | undefined
}

/** The service as its users know it: its brand, its URL, and the URL of the pages that links open. */
export interface MailSender { brand: MailBrand, issuer: string, linksUrl: string }

/** What a mail is rendered from. `createdAt` is when the mail was enqueued. */
export interface MailContent { mail: Mail, createdAt: Job['createdAt'], recipient: MailRecipient }

// The formats are kept, because creating one takes longer than rendering a mail.
const timeFormat = (language: Language) =>
  new Intl.DateTimeFormat(language, { dateStyle: 'long', timeStyle: 'short', timeZone: 'UTC' })
const timeFormats: Record<Language, Intl.DateTimeFormat> = { en: timeFormat('en'), de: timeFormat('de') }

/** Renders a mail as text and HTML. All values are escaped, so that none of them can add HTML or a header. */
export function renderMail (
  templates: MailTemplates,
  { brand, issuer, linksUrl }: MailSender,
  { mail, createdAt, recipient }: MailContent
): RenderedMail {
  const { address, language } = recipient
  const { kind, token, lives, facts: { ip, browser, system, email = address } = {} } = mail
  const template = templates.of(kind, language)
  const { page, action } = template
  const link = page === undefined || token === undefined ? undefined : linkUrl({ linksUrl, page }, token)
  const values = {
    service: brand.name,
    support: brand.supportUrl,
    issuer,
    language,
    link,
    action: link ?? (action === undefined ? undefined : `${issuer}/${action}`),
    lives: lives === undefined ? undefined : formatDuration(lives, language),
    time: `${timeFormats[language].format(createdAt)} UTC`,
    ip,
    email,
    browser: plainName(browser),
    system: plainName(system)
  }
  const renderText = (text: string) => Mustache.render(text, values, {}, { escape: String })
  const subject = renderText(template.subject).replaceAll(/[\p{C}\p{Z}]+/gu, ' ').trim()
  const appearance = { ...appearanceOf(brand), subject, help: helpNames[language], ...blocksIn(language) }
  return {
    to: address,
    language,
    subject,
    text: renderText(template.text).replaceAll(/\n{3,}/g, '\n\n') + '\n',
    html: Mustache.render(templates.layout, { ...values, ...appearance }, { content: template.html }),
    link
  }
}

const helpNames: Record<Language, string> = { en: 'Help', de: 'Hilfe' }

/** The logo and the colours of the brand, as the layout names them. */
const appearanceOf = ({ logoUrl: logo, colors: { light, dark } }: MailBrand) => ({
  logo,
  brand: light.brand,
  on_brand: light.onBrand,
  edge: light.edge,
  brand_dark: dark.brand,
  on_brand_dark: dark.onBrand,
  edge_dark: dark.edge
})

const nameSyntax = /^[\p{L}\p{N}]+(?:[ _+-][\p{L}\p{N}]+){0,4}(?:\.\d+)*$/u

/**
 * Returns the name of a browser or system if it is harmless, else undefined. An attacker chooses it in the
 * User-Agent header, and mail programs turn some texts into links.
 */
const plainName = (text: string | undefined) =>
  text !== undefined && nameSyntax.test(text) && text.length <= 40 ? text : undefined

const units = { day: 86_400, hour: 3_600, minute: 60, second: 1 }

/** Returns a number of seconds in words, in the largest unit that gives a whole number above one. */
export function formatDuration (seconds: number, language: Language): string {
  // The number is above one because "24 hours" is clearer than "1 day".
  const [unit, size] =
    Object.entries(units).find(([, size]) => seconds % size === 0 && seconds / size > 1) ?? ['second', 1]
  return new Intl.NumberFormat(language, { style: 'unit', unit, unitDisplay: 'long' }).format(seconds / size)
}
