import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { configurationPage, ungrouped } from '../scripts/configuration-page.ts'
import { directiveNames, directiveOf, listPages, parsePage } from '../scripts/documentation.ts'
import { problemDefinitions } from '../src/capabilities.ts'
import { variables } from '../src/config/variables.ts'

const pages = listPages('.').map(page => ({ page, ...parsePage('.', page) }))
const topics = pages.filter(({ page }) => page.startsWith('docs/'))
const maxLines = 200
const maxReadmeLines = 110

const count = (page: string) => readFileSync(page, 'utf8').split('\n').length - 1

/** The anchor that GitHub gives to a heading. */
const slug = (heading: string) =>
  heading.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, '').trim().replaceAll(/\s/g, '-')

const anchorsOf = (page: string) =>
  parsePage('.', page).prose.flatMap(line => /^#+ (.*)$/.exec(line)?.[1] ?? []).map(slug)

/** The texts between backticks, as they are in the prose of a page. */
const codeSpans = (prose: string[]) =>
  [...prose.join('\n').matchAll(/`([^`\n]+)`/g)].map(([, code = '']) => code)

t.test('links lead to files and headings that exist', async t => {
  for (const { page, prose } of pages) {
    for (const [, target = ''] of prose.join('\n').matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue
      const [path = '', anchor] = target.split('#')
      const file = path === '' ? page : join(dirname(page), path)
      const isFound = existsSync(file) && (anchor === undefined || anchorsOf(file).includes(anchor))
      if (!isFound) t.fail(`${page}: ${target} does not exist`)
    }
  }
})

t.test('a page can be read in one sitting', async t => {
  for (const { page } of topics) t.ok(count(page) < maxLines, `${page} has fewer than ${maxLines} lines`)
  t.ok(count('README.md') < maxReadmeLines, `README has fewer than ${maxReadmeLines} lines`)
})

t.test('the page about sessions cites tests that exist', async t => {
  const cited = [...readFileSync('docs/sessions.md', 'utf8')
    .matchAll(/`([\w-]+\.test\.ts)`: ((?:\*[^*]+\*(?:,(?: and)? )?)+)/g)]
    .flatMap(([, file = '', titles = '']) =>
      [...titles.matchAll(/\*([^*]+)\*/g)].map(([, title = '']) => ({ file, title })))
  t.ok(cited.length > 20)
  for (const { file, title } of cited) {
    t.ok(readFileSync(`test/routes/${file}`, 'utf8').includes(`test('${title}'`), `${file}: ${title}`)
  }
})

t.test('a page begins with its title and one paragraph that says for whom it is', async t => {
  for (const { page, prose: [title = '', blank, introduction = ''] } of topics) {
    t.match(title, /^# \S/, page)
    t.equal(blank, '', page)
    t.match(introduction, /^\w.*\.$/, page)
  }
})

t.test('README leads to every page', async t => {
  const readme = readFileSync('README.md', 'utf8')
  for (const { page } of topics) t.ok(readme.includes(`(${page})`), page)
})

t.test('a block that is not run says why', async t => {
  for (const block of pages.flatMap(({ blocks }) => blocks)) {
    const place = `${block.page}:${block.line}`
    for (const { name } of block.directives) {
      t.ok(directiveNames.some(known => known === name), `${place}: ${name}`)
    }
    if (['console', 'bash', 'shell'].includes(block.language)) t.ok(directiveOf(block, 'not run'), place)
  }
})

t.test('docs/configuration.md is what the code makes of its variables', async t => {
  t.strictSame(ungrouped(), [], 'add them to a group in scripts/configuration-page.ts')
  const page = readFileSync('docs/configuration.md', 'utf8')
  t.equal(page, configurationPage(page), 'npm run configuration')
})

t.test('names on the pages are those of the code', async t => {
  const { paths }: { paths: Record<string, object> } = JSON.parse(readFileSync('openapi.json', 'utf8'))
  const requests = new Set(Object.entries(paths).flatMap(([path, operations]) =>
    Object.keys(operations).map(method => `${method.toUpperCase()} ${path}`)))
  // The API document does not describe these: pages for people, and what describes the API itself.
  for (const path of ['/email-verification', '/password-reset', '/magic-link', '/openapi.json', '/docs']) {
    requests.add(`GET ${path}`)
  }
  const metrics = readFileSync('plugins/metrics.ts', 'utf8')
  // They are read by Node, by libuv, by the examples and by the tests.
  const others = [
    'NODE_EXTRA_CA_CERTS', 'UV_THREADPOOL_SIZE', 'CLIENT_ID', 'CLIENT_SECRET', 'TEST_DATABASE_URL',
    'KEEP_SCREENSHOTS'
  ]
  const names = new Set([...Object.keys(variables), ...others])
  const codes = new Set<string>(problemDefinitions.map(({ code }) => code))

  for (const { page, prose } of pages) {
    const spans = codeSpans(prose)
    for (const span of spans) {
      const [, name] = /^([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=.*)?$/.exec(span) ?? []
      if (name !== undefined && !names.has(name.replace(/_FILE$/, ''))) t.fail(`${page}: no variable ${name}`)
      const [, request] = /^((?:GET|POST|PUT|PATCH|DELETE) \/[^\s?]*)/.exec(span) ?? []
      if (request !== undefined && !requests.has(request)) t.fail(`${page}: no request ${request}`)
      const [, metric] = /^(latchkey_\w+)/.exec(span) ?? []
      if (metric !== undefined && metric !== 'latchkey_owner' && metric !== 'latchkey_migrator' &&
        !metrics.includes(`'${metric}'`)) t.fail(`${page}: no metric ${metric}`)
    }
    for (const [, code = ''] of prose.join('\n').matchAll(/\b4(?:00|01|03|04|09|10|22|29) `(\w+)`/g)) {
      const isOfVerifier = page === 'docs/services.md'
      if (!codes.has(code) && !isOfVerifier) t.fail(`${page}: no problem ${code}`)
    }
  }
})
