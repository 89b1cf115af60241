import { readFiles } from '../support/architecture.ts'
import { checkDependencies, summarizePlugin } from '../support/plugin-dependencies.ts'
import type { DependencyExceptions } from '../support/plugin-dependencies.ts'
import { t } from '../support/test.ts'

const exceptions: DependencyExceptions = {
  ordered: {
    // Requests are counted before they are refused for another reason.
    transport: ['rate-limit'],
    // It configures routes for the package of security.
    'client-origins': ['security'],
    'not-found': ['rate-limit', 'problems']
  },
  packages: {
    setCookie: 'refresh-cookie',
    clearCookie: 'refresh-cookie',
    jwtVerify: 'access-token',
    helmet: 'security',
    swagger: 'openapi',
    rateLimit: 'rate-limit'
  }
}

t.test('every plugin names the plugins whose decorators it uses, and no others', async t => {
  const plugins = [...readFiles()]
    .filter(([file]) => /^plugins\/[^/]+\.ts$/.test(file))
    .map(([file, text]) => summarizePlugin(file, text))
  t.ok(
    plugins.some(({ declared }) => declared.includes('keyring')),
    'the plugins are read'
  )
  t.strictSame(checkDependencies(plugins, exceptions), [])
})

t.test('the checker', async t => {
  const none: DependencyExceptions = { ordered: {}, packages: {} }
  const declaration = "declare module 'fastify' { interface FastifyInstance { db: Database } }"
  const database = summarizePlugin(
    'database.ts',
    `${declaration}\nexport default fp(x, { name: 'database' })`
  )
  const check = (body: string, dependencies = '[]', exceptions = none) => {
    const plugin = summarizePlugin(
      'a.ts',
      `export default fp(${body}, { name: 'a', dependencies: ${dependencies} })`
    )
    return checkDependencies([database, plugin], exceptions)
  }

  t.test('finds every kind of use', async t => {
    for (const body of [
      'app => { app.db.query() }',
      'app => { const { db } = app }',
      'app => { app.addHook("onRequest", request => request.server.db) }',
      'app => { app.addHook("onRequest", ({ db: database }) => database) }',
      'app => { app.decorateReply("x", function () { return this.db }) }',
      'app => { const f = ({ db }: FastifyRequest) => db }'
    ]) { t.strictSame(check(body), ['a lacks database'], body) }
  })

  t.test('accepts what is complete, and options of the same name', async t => {
    t.strictSame(check('app => { app.db.query() }', "['database']"), [])
    t.strictSame(check('(app, { db }: Options) => { db() }'), [])
    t.strictSame(check('app => {}', "['database']", { ...none, ordered: { a: ['database'] } }), [])
    const packages = { query: 'database' }
    t.strictSame(check('app => { app.query() }', "['database']", { ...none, packages }), [])
  })

  t.test('finds what is superfluous', async t => {
    t.strictSame(check('app => {}', "['database']"), ['a does not use database'])
  })
})
