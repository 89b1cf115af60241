import Mustache from 'mustache'
import type { Job } from '../jobs/queue.ts'
import type { Language } from '../http/language.ts'
import type { Mail } from './outbox.ts'
import { linkOf } from './link-url.ts'
import type { Recipient } from './recipient.ts'
import type { Templates } from './templates.ts'

/** A mail in words. */
export interface Letter { to: string, language: Language, subject: string, text: string, html: string, link: string | undefined }

/** Who writes: what users know the service by, its URL, and the one that the pages stand at. */
export interface Sender { serviceName: string, issuer: string, linksUrl: string }

// To make one takes longer than to write the mail.
const timeIn = (language: Language) => new Intl.DateTimeFormat(language, { dateStyle: 'long', timeStyle: 'short', timeZone: 'UTC' })
const times: Record<Language, Intl.DateTimeFormat> = { en: timeIn('en'), de: timeIn('de') }

/** Writes a mail; what stands in it cannot be taken for more than text. */
export function write (templates: Templates, { serviceName, issuer, linksUrl }: Sender, { createdAt }: Pick<Job, 'createdAt'>, mail: Mail, { address, language }: Recipient): Letter {
  const { kind, lives, facts: { ip, browser, system, email = address } = {} } = mail
  const link = linkOf(linksUrl, mail)
  const values = {
    service: serviceName,
    issuer,
    language,
    link,
    lives: lives === undefined ? undefined : span(lives, language),
    time: `${times[language].format(createdAt)} UTC`,
    ip,
    email,
    browser: title(browser),
    system: title(system)
  }
  const template = templates.of(kind, language)
  const plain = (text: string) => Mustache.render(text, values, {}, { escape: String })
  return {
    to: address,
    language,
    subject: plain(template.subject).replaceAll(/[\p{C}\p{Z}]+/gu, ' ').trim(),
    text: plain(template.text).replaceAll(/\n{3,}/g, '\n\n') + '\n',
    html: Mustache.render(templates.layout, values, { content: template.html }),
    link
  }
}

// What a header says of the browser is the words of whoever sent it: none that programs make a link of.
const title = (text: string | undefined) => text !== undefined && /^[\p{L}\p{N}]+(?:[ _+-][\p{L}\p{N}]+){0,4}(?:\.\d+)*$/u.test(text) && text.length <= 40 ? text : undefined

const units = { day: 86_400, hour: 3_600, minute: 60, second: 1 }

/** A number of seconds in words, in the largest unit that gives it whole. */
export function span (seconds: number, language: Language): string {
  // One day is better known as 24 hours.
  const [unit, size] = Object.entries(units).find(([, size]) => seconds % size === 0 && seconds / size > 1) ?? ['second', 1]
  return new Intl.NumberFormat(language, { style: 'unit', unit, unitDisplay: 'long' }).format(seconds / size)
}
