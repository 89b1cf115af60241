import { escapeHtml } from './html.ts'

// The page contains its style, and loads nothing.
const policy =
  "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
const style = 'body { font: 1.05rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; ' +
  'padding: 0 1rem; color-scheme: light dark } code { font-size: .95em }'

/** The headers of a text page. */
export const textPageHeaders = {
  'content-type': 'text/html; charset=utf-8', 'content-security-policy': policy
}

/** A page with a title and paragraphs, which are HTML. */
export const textPage = (title: string, paragraphs: string[]): string => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${style}</style>
<h1>${escapeHtml(title)}</h1>
${paragraphs.map(paragraph => `<p>${paragraph}</p>`).join('\n')}
</html>
`

/** Whether a client asks for HTML, as a browser does when a person opens an address. */
export const namesHtml = (accept: string | undefined): boolean => /\btext\/html\b/i.test(accept ?? '')
