import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import Mustache from 'mustache'
import { ConfigError } from '../config/config-error.ts'
import { languages, type Language } from '../http/language.ts'
import { packageFolder } from '../package-folder.ts'
import type { MailKind, MailKindList } from './mail-kinds.ts'

/** The template of a mail, and the page that the link of the mail opens, if it has a link. */
export interface MailTemplate { subject: string, text: string, html: string, page: string | undefined }

export interface MailTemplates {
  of: (kind: MailKind, language: Language) => MailTemplate
  /** The HTML document around every mail, which stands in place of its partial `content`. */
  layout: string
}

const defaultFolder = join(packageFolder, 'src/mail/templates')
const commonVariables = ['service', 'issuer', 'language', 'email', 'time', 'ip', 'browser', 'system']
const linkVariables = ['link', 'lives']
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
        page: kinds.get(kind)?.page
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
  const hasLink = [...kinds].some(([kind, { page }]) => kind === kindName && page !== undefined)
  const variables = hasLink ? [...commonVariables, ...linkVariables] : commonVariables
  let tags: Tag[]
  try {
    tags = tagsOf(Mustache.parse(text))
  } catch (error) {
    return [`cannot be parsed: ${error instanceof Error ? error.message : String(error)}`]
  }
  const isLayout = name === layoutName
  const has = (tagName: string, type: string) => tags.some(tag => tag.name === tagName && tag.type === type)
  const isKnown = ({ name, type }: Tag) =>
    type === '>' ? isLayout && name === 'content' : variables.includes(name)
  const [firstLine = ''] = text.split('\n', 1)
  const hasSubject = subjectLine.test(firstLine) && firstLine.replace(subjectLine, '').trim() !== ''
  return [
    // Without escaping, a user's value could add HTML.
    ...tags.filter(({ type }) => type === '&').map(({ name }) => `must not use ${name} without escaping`),
    ...tags
      .filter(tag => !isKnown(tag))
      .map(({ name }) => `uses an unknown ${name}; known are ${variables.join(', ')}`),
    ...(isLayout && !has('content', '>') ? ['lacks {{> content}}'] : []),
    ...(hasLink && !has('link', 'name') ? ['lacks {{link}}'] : []),
    ...(name.endsWith('.txt') && !hasSubject ? ['does not begin with a line "Subject: …"'] : [])
  ]
}

interface Tag { type: string, name: string }

/** The tags of a parsed template, including those inside sections, without comments and delimiters. */
const tagsOf = (tokens: ReturnType<typeof Mustache.parse>): Tag[] =>
  tokens.flatMap(([type, name, , , inner]) =>
    ['text', '!', '='].includes(type) ? [] : [{ type, name }, ...(Array.isArray(inner) ? tagsOf(inner) : [])]
  )
