import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import Mustache from 'mustache'
import { ConfigError } from '../config/config-error.ts'
import type { MailKindDeclaration } from '../capability.ts'
import { languages, type Language } from '../http/language.ts'
import { packageFolder } from '../package-folder.ts'
import { blockNames } from './blocks.ts'
import type { MailKind, MailKindList } from './mail-kinds.ts'

/**
 * The template of a mail. `page` is the page that its link opens, and `action` the page of this service that
 * a mail without a link leads to.
 */
export interface MailTemplate extends Pick<MailKindDeclaration, 'page' | 'action'> {
  subject: string
  text: string
  html: string
}

export interface MailTemplates {
  of: (kind: MailKind, language: Language) => MailTemplate
  /** The HTML document around every mail, which stands in place of its partial `content`. */
  layout: string
}

const defaultFolder = join(packageFolder, 'src/mail/templates')
const commonVariables = [
  'service', 'issuer', 'language', 'email', 'time', 'ip', 'browser', 'system', 'support'
]
const linkVariables = ['link', 'lives']
const layoutVariables = [
  'subject', 'logo', 'help', 'brand', 'on_brand', 'edge', 'brand_dark', 'on_brand_dark', 'edge_dark'
]
const layoutName = 'layout.html'
const namesOf = (kinds: MailKindList): string[] => [
  layoutName,
  ...languages.flatMap(language =>
    [...kinds.keys()].flatMap(kind => [`${language}/${kind}.txt`, `${language}/${kind}.html`]))
]

/**
 * Reads the templates of the mails of these kinds: those in `folder`, and the default ones for all that
 * `folder` lacks. Throws a ConfigError that names each file of the folder that is not a valid template.
 */
export function readTemplates (folder: string | undefined, kinds: MailKindList): MailTemplates {
  const problems: string[] = []
  const templateNames = namesOf(kinds)
  const customNames = new Set(folder === undefined ? [] : listTemplates(folder, { kinds, problems }))
  const texts = new Map(templateNames.map(name => {
    const file = customNames.has(name) ? `${folder}/${name}` : `${defaultFolder}/${name}`
    const text = readFileSync(file, 'utf8').replace(/^\uFEFF/, '').replaceAll('\r\n', '\n')
    problems.push(...faultsOf({ name, text, kinds }).map(fault => `MAIL_TEMPLATES: ${name} ${fault}`))
    return [name, text]
  }))
  if (problems.length > 0) throw new ConfigError(problems)
  const text = (name: string) => texts.get(name) ?? ''
  return {
    layout: text(layoutName),
    of (kind, language) {
      const [firstLine = '', ...otherLines] = text(`${language}/${kind}.txt`).split('\n')
      return {
        subject: firstLine.replace(subjectLine, ''),
        text: otherLines.join('\n').trim(),
        html: text(`${language}/${kind}.html`),
        ...kinds.get(kind)
      }
    }
  }
}

interface TemplateCheck { kinds: MailKindList, problems: string[] }

function listTemplates (folder: string, { kinds, problems }: TemplateCheck): string[] {
  const templateNames = namesOf(kinds)
  try {
    // Kubernetes mounts a ConfigMap with the help of files and folders whose names begin with a dot.
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .map(name => name.replaceAll('\\', '/'))
      .filter(name => !/(^|\/)\./.test(name) && /\.(txt|html)$/.test(name))
    const unknown = files.filter(name => !templateNames.includes(name))
    const expected = `${layoutName}, and ${languages.join(' or ')}/KIND.txt and .html, ` +
      `where KIND is ${[...kinds.keys()].join(', ')}`
    problems.push(
      ...unknown.map(name => `MAIL_TEMPLATES: ${name} is not a template; expected are ${expected}`)
    )
    return files.filter(name => templateNames.includes(name))
  } catch (error) {
    problems.push(`MAIL_TEMPLATES cannot be read: ${(error as NodeJS.ErrnoException).code}`)
    return []
  }
}

const subjectLine = /^Subject: */

/** Returns what is wrong with a template, each as a phrase that continues its name. */
function faultsOf ({ name, text, kinds }: { name: string, text: string, kinds: MailKindList }): string[] {
  const [, kindName] = /^.*\/(.*)\./.exec(name) ?? []
  const [declaration] = [...kinds.values()].filter(({ kind }) => kind === kindName)
  const hasLink = declaration?.page !== undefined
  const isLayout = name === layoutName
  const variables = [
    ...commonVariables,
    ...hasLink ? linkVariables : [],
    ...hasLink || declaration?.action !== undefined ? ['action'] : [],
    ...isLayout ? layoutVariables : []
  ]
  const blocks = name.endsWith('.html') ? blockNames : []
  let tags: Tag[]
  try {
    tags = tagsOf(Mustache.parse(text))
  } catch (error) {
    return [`cannot be parsed: ${error instanceof Error ? error.message : String(error)}`]
  }
  const has = (tagName: string, type: string) => tags.some(tag => tag.name === tagName && tag.type === type)
  const isKnown = ({ name, type }: Tag) =>
    type === '>'
      ? isLayout && name === 'content'
      : variables.includes(name) || (type === '#' && blocks.includes(name) && isUsable(name))
  // A button leads to the link, or to the action.
  const isUsable = (block: string) => block !== 'button' || variables.includes('action')
  const leadsToLink = has('link', 'name') || has('action', 'name') || has('button', '#')
  const [firstLine = ''] = text.split('\n', 1)
  const hasSubject = subjectLine.test(firstLine) && firstLine.replace(subjectLine, '').trim() !== ''
  return [
    // Without escaping, a user's value could add HTML.
    ...tags.filter(({ type }) => type === '&').map(({ name }) => `must not use ${name} without escaping`),
    ...tags
      .filter(tag => !isKnown(tag))
      .map(({ name }) => `uses an unknown ${name}; known are ${variables.join(', ')}`),
    ...(isLayout && !has('content', '>') ? ['lacks {{> content}}'] : []),
    ...(hasLink && !leadsToLink ? ['lacks {{link}}'] : []),
    ...(name.endsWith('.txt') && !hasSubject ? ['does not begin with a line "Subject: …"'] : [])
  ]
}

interface Tag { type: string, name: string }

/** The tags of a parsed template, including those inside sections, without comments and delimiters. */
const tagsOf = (tokens: ReturnType<typeof Mustache.parse>): Tag[] =>
  tokens.flatMap(([type, name, , , inner]) =>
    ['text', '!', '='].includes(type) ? [] : [{ type, name }, ...(Array.isArray(inner) ? tagsOf(inner) : [])]
  )
