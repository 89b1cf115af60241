import { html, type Html, type HtmlValue } from '../../src/http/html.ts'
import type { Language } from '../../src/http/language.ts'
import type { ShownMail } from '../../src/mail/shown-mails.ts'
import { version } from '../../src/version.ts'
import { head } from './components.ts'
import type { PageContext } from './context.ts'
import { brandMark, renderDocument } from './layout.ts'
import { signInTexts } from './texts/sign-in.ts'
import { startTexts } from './texts/start.ts'

export interface StartView {
  language: Language
  /** Whether the page `/docs` exists. */
  hasDocs: boolean
  /** What stands before a command, so that its links lead to this service. */
  commandPrefix: string
  /** The last mails that were not sent; undefined if they are sent, or must not be shown. */
  mails: readonly ShownMail[] | undefined
}

/** Renders the start page of development: the first steps, the last mails, and where to read on. */
export function renderStart (context: PageContext, view: StartView): string {
  const { language, hasDocs, commandPrefix, mails } = view
  const { issuer, basePath } = context
  const texts = startTexts[language]
  const link = (path: string, text: string) => html`<a href="${basePath}${path}">${text}</a>`
  const { signIn, signUpLink, forgot } = signInTexts[language]
  const pages = [link('/sign-in', signIn), link('/sign-up', signUpLink), link('/forgot', forgot)]
  const steps = [
    step(texts.running, html`<p class="small quiet">${texts.issuer} ${issuer}</p>`, true),
    step(texts.administrator,
      html`<pre>${commandPrefix}npx latchkey users create --email you@example.com --role user,admin</pre>
<p class="small quiet">${texts.administratorText}</p>`),
    step(texts.pages, html`<p class="small">${pages.map(page => html`${page} `)}</p>`),
    step(texts.connect, html`
<pre>${commandPrefix}npx latchkey clients create --name Shop ${
  '--redirect-uri http://localhost:8080/callback'}</pre>
<p class="small quiet">${texts.connectText} ${issuer}</p>`)
  ]
  const references = [
    ...hasDocs ? [link('/docs', texts.docs)] : [],
    link('/openapi.json', texts.document),
    link('/.well-known/oauth-authorization-server', texts.metadata)
  ]
  const other = language === 'en' ? 'de' : 'en'
  return renderDocument(context, {
    language,
    title: texts.title,
    path: '/',
    isWide: true,
    main: html`<div class="row">${brandMark(context)}
<span class="pill">${texts.development} · ${version}</span></div>
${head(texts.title, mails && texts.mailsBelow)}
${section('steps', texts.firstSteps, html`<ol class="steps">${steps}</ol>`)}
<div class="columns">${mails && section('mails', texts.lastMails, mailList(context, language, mails))}
${section('reference', texts.reference,
  html`<ul class="list">${references.map(reference => html`<li>${reference}</li>`)}</ul>`)}</div>
<p class="small ways"><a href="${basePath}/?lang=${other}" lang="${other}" hreflang="${other}">${
  startTexts[other].inThisLanguage}</a></p>`
  })
}

const step = (title: string, content: Html, isDone = false): Html =>
  html`<li${isDone && html` class="done"`}><div><strong>${title}</strong>${content}</div></li>
`

const section = (id: string, title: string, content: HtmlValue): Html =>
  html`<section class="card" aria-labelledby="${id}"><h2 id="${id}">${title}</h2>
${content}</section>
`

function mailList ({ basePath }: PageContext, language: Language, mails: readonly ShownMail[]): Html {
  const texts = startTexts[language]
  if (mails.length === 0) return html`<p class="small quiet none">${texts.noMails}</p>`
  const time = new Intl.DateTimeFormat(language, { timeStyle: 'medium' })
  return html`<ul class="list">${mails.map(({ id, to, subject, at }) => html`<li><div>
<a href="${basePath}/dev/mails/${id}">${subject}</a>
<p class="small quiet">${to} · ${time.format(at)}</p></div></li>`)}</ul>`
}

/** Renders a mail that was not sent. */
export function renderMailPage (
  context: PageContext, { language, mail }: { language: Language, mail: ShownMail }
): string {
  const { basePath } = context
  const { id, to, subject, text, link } = mail
  const texts = startTexts[language]
  return renderDocument(context, {
    language,
    title: subject,
    path: `/dev/mails/${id}`,
    isWide: true,
    main: html`<div class="row">${brandMark(context)}<span class="pill">${texts.notSent}</span></div>
${head(subject, to)}
<p class="ways links">${link !== undefined && html`<a href="${link}">${texts.openLink}</a> `}<a href="${
  basePath}/dev/mails/${id}/html">${texts.asHtml}</a> <a href="${basePath}/">${texts.back}</a></p>
<pre class="mail" lang="${mail.language}">${text}</pre>`
  })
}
