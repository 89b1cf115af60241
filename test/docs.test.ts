import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { parse as parseYaml } from 'yaml'
import { configurationPage, ungrouped } from '../scripts/configuration-page.ts'
import { directiveNames, directiveOf, listPages, parsePage } from '../scripts/documentation.ts'
import { auditEventTypes, counters, problemDefinitions } from '../src/capabilities.ts'
import { variables } from '../src/config/variables.ts'
import { offeredTypes } from '../src/webhooks/events.ts'
import { closedPort, run } from './support/command-line.ts'
import { t } from './support/test.ts'

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

t.test('docker-compose.yml passes every variable to the service', async t => {
  const compose: { 'x-latchkey': { environment: Record<string, string | null> } } =
    parseYaml(readFileSync('docker-compose.yml', 'utf8'), { merge: true })
  const { environment } = compose['x-latchkey']
  // The image sets the first three, and only migrations may have the others.
  const absent = ['NODE_ENV', 'HOST', 'PORT', 'DATABASE_OWNER_URL', 'DATABASE_OWNER_PASSWORD']
  const expected = Object.keys(variables).filter(name => !absent.includes(name))
  t.strictSame(Object.keys(environment).map(name => name.replace(/_FILE$/, '')).sort(), expected.sort())
})

t.test('the image\'s health check asks where the service listens', async t => {
  const [, command = ''] = /^HEALTHCHECK .*\\\n {2}CMD (\[.+\])$/m.exec(
    readFileSync('Dockerfile', 'utf8')
  ) ?? []
  const [, ...args]: string[] = JSON.parse(command)
  const isHealthy = async (environment: Record<string, string>) => {
    const child = spawn(process.execPath, args, { env: environment, stdio: 'ignore' })
    const [code] = await once(child, 'exit')
    return code === 0
  }
  const paths: Array<string | undefined> = []
  let status = 200
  const listen = async (host: string, port = 0) => {
    const server = createServer((request, response) => {
      paths.push(request.url)
      response.writeHead(status).end()
    }).listen(port, host)
    t.teardown(() => { server.close() })
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  }
  for (const [address, hosts] of [
    ['127.0.0.2', ['127.0.0.2']], ['127.0.0.1', ['0.0.0.0', '127.0.0.1', 'localhost', '']],
    ['::1', ['::', '[::]', '::1', '[::1]']]
  ] as const) {
    const PORT = String(await listen(address))
    for (const HOST of hosts) t.ok(await isHealthy({ HOST, PORT }), `HOST=${HOST}`)
  }
  t.strictSame([...new Set(paths)], ['/readyz'])
  const PORT = String(await listen('127.0.0.1'))
  status = 503
  t.notOk(await isHealthy({ HOST: '0.0.0.0', PORT }))
  t.notOk(await isHealthy({ HOST: '127.0.0.3', PORT: String(await closedPort()) }))
})

/** The cells of the first column of a page's tables that are code. */
const listedCodes = (page: string, heading: string) => {
  const [, section = ''] = readFileSync(page, 'utf8').split(`## ${heading}\n`)
  const [text = ''] = section.split('\n## ')
  return [...text.matchAll(/^\| `([^`]+)` \|/gm)].map(([, code = '']) => code)
}

t.test('docs/codes-and-events.md has every problem and every event', async t => {
  const page = 'docs/codes-and-events.md'
  t.strictSame(listedCodes(page, 'Problems').sort(), problemDefinitions.map(({ code }) => code).sort())
  t.strictSame(listedCodes(page, 'Events').sort(), [...auditEventTypes].sort())
  const [, events = ''] = readFileSync(page, 'utf8').split('## Events\n')
  const sent = [...events.matchAll(/^\| `([^`]+)` \| yes \|/gm)].map(([, type = '']) => type)
  t.strictSame(sent.sort(), offeredTypes(auditEventTypes).sort())
  for (const { code, status } of problemDefinitions) {
    const row = `| \`${code}\` | ${status.join(', ')} |`
    t.ok(readFileSync(page, 'utf8').includes(row), row)
  }
})

t.test('docs/command-line.md has every command', async t => {
  const { stdout } = await run(t, ['--help'])
  const commands = [
    ...stdout.matchAll(/^ {2}latchkey ([a-z]+(?: [a-z-]+)?) {2,}/gm)
  ].map(([, name = '']) => name)
  t.ok(commands.length > 10)
  const named = listedCodes('docs/command-line.md', 'Commands')
    .map(code => /^latchkey ([a-z]+(?: [a-z-]+)?)/.exec(code)?.[1])
  t.strictSame(named.sort(), commands.sort())
})

t.test('docs/README.md lists every page', async t => {
  const index = readFileSync('docs/README.md', 'utf8')
  for (const { page } of topics) {
    if (page !== 'docs/README.md') t.ok(index.includes(`(${page.replace('docs/', '')})`), page)
  }
})

t.test('names on the pages are those of the code', async t => {
  const { paths }: { paths: Record<string, object> } = JSON.parse(readFileSync('openapi.json', 'utf8'))
  const requests = new Set(Object.entries(paths).flatMap(([path, operations]) =>
    Object.keys(operations).map(method => `${method.toUpperCase()} ${path}`)))
  // The API document does not describe these: pages for people, and what describes the API itself.
  for (const path of [
    '/email-verification', '/password-reset', '/magic-link', '/openapi.json', '/docs', '/', '/favicon.ico',
    '/sign-in', '/sign-up', '/forgot', '/check-inbox', '/consent', '/signed-in', '/sign-out', '/signed-out'
  ]) requests.add(`GET ${path}`)
  const metrics = ['metrics', 'resource-metrics']
    .map(plugin => readFileSync(`plugins/${plugin}.ts`, 'utf8')).join('\n')
  const isMetric = (name: string) =>
    metrics.includes(`'${name}'`) || counters.some(counter => counter.name === name)
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
      const isRole = metric === 'latchkey_owner' || metric === 'latchkey_migrator'
      if (metric !== undefined && !isRole && !isMetric(metric)) t.fail(`${page}: no metric ${metric}`)
    }
    for (const [, code = ''] of prose.join('\n').matchAll(/\b4(?:00|01|03|04|09|10|22|29) `(\w+)`/g)) {
      const isOfVerifier = page === 'docs/services.md'
      if (!codes.has(code) && !isOfVerifier) t.fail(`${page}: no problem ${code}`)
    }
  }
})
