const entities: Record<string, string> = {
  '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;'
}

/**
 * Escapes text for HTML, in an element or in a quoted attribute. Mails are escaped by their template library.
 */
export const escapeHtml = (text: string): string =>
  text.replaceAll(/[&<>"']/g, character => entities[character] ?? '')

/** A piece of HTML whose parts are escaped. Only `html` makes one. */
export class Html {
  readonly markup: string

  constructor (markup: string) {
    this.markup = markup
  }
}

/** What `html` accepts as a value: text is escaped, and what is absent becomes nothing. */
export type HtmlValue = string | number | Html | readonly Html[] | undefined | false

/** Makes HTML from a template. Every value is escaped, unless `html` made it. */
export function html (parts: TemplateStringsArray, ...values: HtmlValue[]): Html {
  return new Html(parts.reduce((text, part, index) => text + markupOf(values[index - 1]) + part))
}

function markupOf (value: HtmlValue): string {
  if (value === undefined || value === false) return ''
  if (value instanceof Html) return value.markup
  if (typeof value === 'string' || typeof value === 'number') return escapeHtml(String(value))
  return value.map(({ markup }) => markup).join('')
}
