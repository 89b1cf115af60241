import { html, type Html } from '../../src/http/html.ts'
import type { Language } from '../../src/http/language.ts'
import type { PageContext } from './context.ts'
import { layoutTexts } from './texts/layout.ts'

/** A page: its title, its content, and where its link to the other language leads. */
export interface PageDocument {
  language: Language
  title: string
  /** Whether the page tells about a failure. Its title then begins with it (WCAG 3.3.1). */
  isFailure?: boolean
  /** What is in the card, or on the whole page if `isWide`. */
  main: Html | readonly Html[]
  isWide?: boolean
  /** The path of the page, with its query if that matters, from the issuer's path. */
  path: string
  /** The URL that the page moves on to by itself. */
  refreshUrl?: string | undefined
}

const contentSecurityPolicy = [
  "default-src 'none'", "style-src 'self'", "script-src 'self'", "img-src 'self'", "form-action 'self'",
  "frame-ancestors 'none'", "base-uri 'none'"
].join('; ')

/** Returns the headers of a page. */
export const pageHeaders = (language: Language) => ({
  'content-type': 'text/html; charset=utf-8',
  'content-language': language,
  'content-security-policy': contentSecurityPolicy,
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
  vary: 'origin, accept-language, cookie'
})

/** Renders the HTML document of a page. */
export function renderDocument (context: PageContext, page: PageDocument): string {
  const { language, title, isFailure = false, main, isWide = false, refreshUrl } = page
  const { basePath, assets, brand: { name } } = context
  const heading = isFailure ? `${layoutTexts[language].error}: ${title}` : title
  const body = isWide
    ? html`<main class="wide">${main}</main>`
    : html`<div class="gate"><main class="card">${brandMark(context)}${main}</main>
${footer(context, page)}</div>`
  return html`<!doctype html>
<html lang="${language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
${refreshUrl !== undefined && html`<meta http-equiv="refresh" content="0;url=${refreshUrl}">
`}<title>${heading} · ${name}</title>
<link rel="icon" href="${basePath}/favicon.ico" type="image/svg+xml">
<link rel="stylesheet" href="${basePath}${assets.style.url}">
<script src="${basePath}${assets.script.url}"></script>
</head>
<body>
${body}
</body>
</html>
`.markup
}

const key = 'M13 6a6 6 0 0 1 2 11.66V22h7v4H11v-8.34A6 6 0 0 1 13 6Z' +
  'm0 3.75a2.25 2.25 0 1 0 0 4.5 2.25 2.25 0 0 0 0-4.5Z'
const mark = html`<svg viewBox="0 0 32 32" aria-hidden="true">
<rect class="mark-bg" width="32" height="32" rx="8"/>
<path class="mark-fg" fill-rule="evenodd" d="${key}"/></svg>`

/** The icon of the service in the tabs of browsers. */
export const icon = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">' +
  '<rect width="32" height="32" rx="8" fill="#17181c"/>' +
  `<path fill="#e9c079" fill-rule="evenodd" d="${key}"/></svg>\n`

/** The logo and the name of the service. */
export function brandMark ({ brand, assets, basePath }: PageContext): Html {
  const logo = assets.logo === undefined ? mark : html`<img src="${basePath}${assets.logo.url}" alt="">`
  return html`<p class="brand">${logo}<span>${brand.name}</span></p>`
}

/** The links to the page in the other language, and to what the operator links to. */
function footer (context: PageContext, { language, path }: PageDocument): Html {
  const texts = layoutTexts[language]
  const { supportUrl, privacyUrl, termsUrl } = context.brand
  const other = language === 'en' ? 'de' : 'en'
  const address = `${context.basePath}${path}${path.includes('?') ? '&' : '?'}lang=${other}`
  const link = (url: string | undefined, text: string) => url !== undefined && html`
<a href="${url}">${text}</a>`
  return html`<footer><a class="language" href="${address}" lang="${other}" hreflang="${other}">${
    layoutTexts[other].ownName}</a>${link(privacyUrl, texts.privacy)}${link(termsUrl, texts.terms)}${
    link(supportUrl, texts.support)}</footer>`
}
