import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { createContent, type Content } from '../../src/http/representation.ts'

/** The page of Swagger UI, and the files that it loads, by name. */
export interface DocumentationPage { html: Content, files: ReadonlyMap<string, Content> }

/**
 * The policy that Swagger UI needs. With `upgrade-insecure-requests` the page could not load over plain HTTP.
 */
export const policy = [
  "default-src 'self'",
  "base-uri 'self'",
  "font-src 'self' https: data:",
  "frame-ancestors 'self'",
  "img-src 'self' data: validator.swagger.io",
  "object-src 'none'",
  "script-src 'self'",
  "script-src-attr 'none'",
  "style-src 'self' https:"
].join('; ')

const html = (basePath: string) => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Latchkey</title>
<link rel="stylesheet" href="${basePath}/docs/static/swagger-ui.css">
<link rel="stylesheet" href="${basePath}/docs/static/index.css">
<link rel="icon" type="image/png" href="${basePath}/docs/static/favicon-32x32.png" sizes="32x32">
</head>
<body>
<div id="swagger-ui"></div>
<script src="${basePath}/docs/static/swagger-ui-bundle.js"></script>
<script src="${basePath}/docs/static/swagger-initializer.js"></script>
</body>
</html>
`

const initializer = (basePath: string) => `window.ui = SwaggerUIBundle({
  url: '${basePath}/docs/json',
  dom_id: '#swagger-ui',
  presets: [SwaggerUIBundle.presets.apis],
  deepLinking: true,
  docExpansion: 'list',
  persistAuthorization: false,
  tryItOutEnabled: true,
  validatorUrl: null
})
`

const [css, javascript] = ['text/css; charset=utf-8', 'text/javascript; charset=utf-8']
const packaged = {
  'swagger-ui.css': css,
  'index.css': css,
  'swagger-ui-bundle.js': javascript,
  'favicon-32x32.png': 'image/png'
}

let loading: Promise<Array<[name: string, content: Content]>> | undefined

/** The page under this path, and its files. A process reads those of the package once. */
export async function loadPage (basePath: string): Promise<DocumentationPage> {
  const files = await (loading ??= loadFiles())
  return {
    html: createContent(html(basePath), 'text/html; charset=utf-8'),
    files: new Map([...files, ['swagger-initializer.js', createContent(initializer(basePath), javascript)]])
  }
}

// Responses have no links, and a phone needs the width.
const ownStyle = `
.swagger-ui .responses-table .response-col_links { display: none }
@media (max-width: 640px) {
  .swagger-ui .wrapper, .swagger-ui .info { padding: 0 10px; margin: 10px 0 }
  .swagger-ui .opblock-tag { flex-wrap: wrap }
  .swagger-ui .opblock-tag small { flex: 0 0 100%; order: 1; padding: 5px 0 0 }
  .swagger-ui .responses-inner { padding: 10px }
  .swagger-ui .responses-table .response-col_status { width: 48px; min-width: 48px; padding-right: 5px }
  .swagger-ui .response-controls { flex-wrap: wrap }
  .swagger-ui .response-controls select { max-width: 100% }
}
`

async function loadFiles (): Promise<Array<[name: string, content: Content]>> {
  const folder = join(dirname(createRequire(import.meta.url).resolve('@fastify/swagger-ui')), 'static')
  return await Promise.all(Object.entries(packaged).map(async ([name, type]): Promise<[string, Content]> =>
    [name, createContent(await readContent(join(folder, name)), type)]))
}

/** A file of the package. The rules of this page are added to its style sheet. */
async function readContent (file: string): Promise<Buffer> {
  const content = await readFile(file)
  return basename(file) === 'index.css' ? Buffer.concat([content, Buffer.from(ownStyle)]) : content
}
