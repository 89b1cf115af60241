import type { Language } from '../http/language.ts'

/** A section of Mustache that is a function: it gets its own template, and what renders a template. */
type Block = () => (inner: string, render: (template: string) => string) => string

const linkHints: Record<Language, string> = {
  en: 'Button not working? Copy this link into your browser:',
  de: 'Die Schaltfläche funktioniert nicht? Kopieren Sie diesen Link in Ihren Browser:'
}

const buttonTable = 'role="presentation" class="action" cellpadding="0" cellspacing="0" style="margin:24px 0"'
const buttonStyle = 'display:inline-block;padding:12px 23px;border:1px solid {{edge}};border-radius:8px;' +
  'font-size:16px;line-height:20px;font-weight:600;color:{{on_brand}};text-decoration:none'
const quietStyle = 'font-size:14px;line-height:21px;color:#5d5f67'
const noteStyle = `margin:24px 0 0;padding-top:20px;border-top:1px solid #e3e1da;${quietStyle}`

/** The names of the sections that HTML templates may use. */
export const blockNames = ['button', 'note']

/**
 * The sections of HTML templates with styles in their tags, because some mail programs ignore style sheets.
 * `button` leads where the mail leads, and the link is also written out. `note` is quiet text at the end.
 */
export const blocksIn = (language: Language): Record<'button' | 'note', Block> => ({
  button: () => (inner, render) => render(
    `<table ${buttonTable}><tr>` +
      '<td class="button" bgcolor="{{brand}}" style="border-radius:8px;background:{{brand}}">' +
      `<a href="{{action}}" style="${buttonStyle}">${inner}</a></td></tr></table>\n` +
      `<p class="quiet link" style="margin:0 0 16px;${quietStyle}">${linkHints[language]}<br>\n` +
      '<span style="word-break:break-all">{{action}}</span></p>'),
  note: () => (inner, render) => render(`<p class="quiet line" style="${noteStyle}">${inner}</p>`)
})
