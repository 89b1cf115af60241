import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import Mustache from 'mustache'
import { ConfigError } from '../config/config-error.ts'
import { languages, type Language } from '../http/language.ts'
import { packageFolder } from '../package-folder.ts'
import { mailKinds, type MailKind } from './outbox.ts'
import { pages } from './link-url.ts'

export interface Template { subject: string, text: string, html: string }

export interface Templates {
  of: (kind: MailKind, language: Language) => Template
  /** What all HTML stands in, in the place of its partial `content`. */
  layout: string
}

const shipped = join(packageFolder, 'src/mail/templates')
const always = ['service', 'issuer', 'language', 'email', 'time', 'ip', 'browser', 'system']
const layout = 'layout.html'
const names = [layout, ...languages.flatMap(language => mailKinds.flatMap(kind => ['txt', 'html'].map(format => `${language}/${kind}.${format}`)))]

/**
 * The templates of mails: those of `folder`, and for what is not there the shipped ones. Throws a ConfigError that names
 * each file of the folder that is none, or cannot be used.
 */
export function read (folder: string | undefined): Templates {
  const problems: string[] = []
  const own = new Set(folder === undefined ? [] : filesOf(folder, problems))
  const texts = new Map(names.map(name => {
    const text = readFileSync(own.has(name) ? `${folder}/${name}` : `${shipped}/${name}`, 'utf8').replace(/^\uFEFF/, '').replaceAll('\r\n', '\n')
    problems.push(...faults(name, text).map(fault => `MAIL_TEMPLATES has a template ${name} that ${fault}`))
    return [name, text]
  }))
  if (problems.length > 0) throw new ConfigError(problems)
  const text = (name: string) => texts.get(name) ?? ''
  return {
    layout: text(layout),
    of (kind, language) {
      const [first = '', ...rest] = text(`${language}/${kind}.txt`).split('\n')
      return { subject: first.replace(subject, ''), text: rest.join('\n').trim(), html: text(`${language}/${kind}.html`) }
    }
  }
}

function filesOf (folder: string, problems: string[]): string[] {
  try {
    // Where a folder is mounted from a ConfigMap, what begins with a dot is how that is done.
    const found = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map(name => name.replaceAll('\\', '/')).filter(name => !/(^|\/)\./.test(name) && /\.(txt|html)$/.test(name))
    problems.push(...found.filter(name => !names.includes(name)).map(name => `MAIL_TEMPLATES has ${name}, which is no template: they are ${layout}, and ${languages.join(' or ')}/KIND.txt and .html with the kinds ${mailKinds.join(', ')}`))
    return found.filter(name => names.includes(name))
  } catch (error) {
    problems.push(`MAIL_TEMPLATES cannot be read: ${(error as NodeJS.ErrnoException).code}`)
    return []
  }
}

const subject = /^Subject: */

/** What is wrong with a template. */
function faults (name: string, text: string): string[] {
  const [, kind] = /^.*\/(.*)\./.exec(name) ?? []
  const hasLink = mailKinds.some(known => known === kind && pages[known] !== undefined)
  const known = hasLink ? [...always, 'link', 'lives'] : always
  let used: Tag[]
  try {
    used = tags(Mustache.parse(text))
  } catch (error) {
    return [`cannot be read: ${error instanceof Error ? error.message : String(error)}`]
  }
  const has = (name: string, type: string) => used.some(tag => tag.name === name && tag.type === type)
  return [
    // What is put in without being escaped could be anything.
    ...used.filter(({ type }) => type === '&').map(({ name }) => `must not have ${name} unescaped`),
    ...used.filter(({ name: tag, type }) => type === '>' ? name !== layout || tag !== 'content' : !known.includes(tag)).map(({ name }) => `has an unknown ${name}: there are ${known.join(', ')}`),
    ...name === layout && !has('content', '>') ? ['lacks {{> content}}'] : [],
    ...hasLink && !has('link', 'name') ? ['lacks {{link}}'] : [],
    ...name.endsWith('.txt') && !(subject.test(text) && text.split('\n', 1).join().replace(subject, '').trim() !== '') ? ['does not begin with a line "Subject: …"'] : []
  ]
}

interface Tag { type: string, name: string }

const tags = (spans: ReturnType<typeof Mustache.parse>): Tag[] => spans.flatMap(([type, name, , , inner]) =>
  ['text', '!', '='].includes(type) ? [] : [{ type, name }, ...Array.isArray(inner) ? tags(inner) : []])
