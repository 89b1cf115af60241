import { readdirSync, readFileSync } from 'node:fs'
import {
  check, cycles, floors, imports, longLines, longParameterLists, readAllFiles, readFiles, topFolders,
  typeNames
} from './support/architecture.ts'
import { t } from './support/test.ts'

/** Known violations. A change that mends one removes it here. */
const tolerated: string[] = []

const files = readFiles()
const allFiles = readAllFiles()
const programs = [...allFiles].filter(([file]) => /\.c?ts$/.test(file))
const isInProject = (target: string) => topFolders.some(folder => target.startsWith(`${folder}/`))

t.test('every file keeps the rules of the architecture', async t => {
  for (const folder of topFolders) {
    t.ok([...files.keys()].some(file => file.startsWith(`${folder}/`)), `${folder}/ has files`)
  }
  const violations = [...files].flatMap(([file, text]) => check(file, text))
  t.strictSame(violations.sort(), tolerated.sort())
})

t.test('every room stands on a floor, and every room that a floor names exists', async t => {
  const rooms = new Set(
    [...files.keys()].filter(file => /^src\/[^/]+\//.test(file)).map(file => file.split('/')[1])
  )
  t.strictSame([...floors.flat()].sort(), [...rooms].sort())
})

t.test('no import cycle exists', async t => {
  const graph = new Map([...files].map(([file, text]) =>
    [file, imports(file, text).map(({ target }) => target).filter(target => files.has(target))] as const))
  t.strictSame(cycles(graph), [])
})

t.test('the verifier is a package of its own', async t => {
  const folder = 'plugins/verifier'
  const root = JSON.parse(readFileSync('package.json', 'utf8'))
  const own = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8'))
  /** The packages that a file needs when it runs, by itself and by what it imports. */
  const packagesOf = (file: string): string[] =>
    imports(file, files.get(file) ?? '').filter(({ typesOnly }) => !typesOnly).flatMap(({ target }) =>
      target.startsWith('node:') ? [] : files.has(target) ? packagesOf(target) : [target])
  const needed = (file: string) => [...new Set(packagesOf(`${folder}/${file}`))].sort()
  t.strictSame(needed('verifier.ts'), ['eventsource-parser', 'jose'], 'its core needs no framework')
  t.strictSame(needed('fastify.ts'), Object.keys(own.dependencies).sort())
  for (const [name, range] of Object.entries(own.dependencies)) {
    t.equal(range, root.dependencies[name], `${name} has the same range in both packages`)
  }
  t.equal(own.version, root.version)
  t.strictSame(own.peerDependenciesMeta, { fastify: { optional: true } })
})

t.test('a comment names the migration that has the current text of an SQL function', async t => {
  const creators = new Map<string, string[]>()
  for (const name of readdirSync('migrations').sort()) {
    const text = readFileSync(`migrations/${name}`, 'utf8')
    for (const [, created = ''] of text.matchAll(/^create (?:or replace )?function (\w+)/gm)) {
      creators.set(created, [...creators.get(created) ?? [], `migrations/${name}`])
    }
  }
  const comments = [...files.values()].flatMap(text => text.split('\n'))
    .filter(line => /^ *(\/\/|\*) /.test(line))
  for (const [created, places] of creators) {
    const mentions = comments.filter(line => line.includes('migrations/') && line.includes(created))
    // Who greps for a function that was replaced finds its first text first.
    if (places.length > 1) t.not(mentions.length, 0, `a comment in src/ names the migration of ${created}`)
    for (const line of mentions) t.match(line, places.at(-1))
  }
})

t.test('every import within the project names an existing file', async t => {
  const missing = [...files].flatMap(([file, text]) => imports(file, text)
    .filter(({ target }) => isInProject(target) && !files.has(target))
    .map(({ target }) => `${file}: ${target}`))
  t.strictSame(missing, [])
})

t.test('two types never share a name', async t => {
  const places = new Map<string, string[]>()
  for (const [file, text] of programs) {
    for (const name of typeNames(file, text)) places.set(name, [...places.get(name) ?? [], file])
  }
  const shared = [...places]
    .filter(([, declaredIn]) => declaredIn.length > 1)
    .map(([name, declaredIn]) => `${name}: ${declaredIn.join(', ')}`)
  t.strictSame(shared.sort(), [])
})

t.test('a function has at most four parameters', async t => {
  const violations = [...programs].flatMap(([file, text]) =>
    longParameterLists(file, text).map(violation => `${file}: ${violation}`))
  t.strictSame(violations, [])
})

t.test('lines end at 110 columns', async t => {
  const long = [...allFiles].flatMap(([file, text]) => longLines(text).map(line => `${file}:${line}`))
  t.strictSame(long, [])
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

  t.test('finds type names, long lines and long lists of parameters', async t => {
    const text = 'export interface A {}\ntype B = string\nclass C { add (a: 1, b: 2, c: 3, d: 4, e: 5) {} }'
    t.strictSame(typeNames('test/here.ts', text), ['A', 'B', 'C'])
    t.strictSame(longParameterLists('test/here.ts', text), ['add has 5 parameters'])
    const [short, long, hash] = ['a '.repeat(55), 'a '.repeat(56), 'a'.repeat(200)]
    t.strictSame(longLines([short, long, hash].join('\n')), [2])
  })

  t.test('finds each violation', async t => {
    const bad: Array<[file: string, text: string, violation: string]> = [
      [
        'src/users/users.ts',
        "import Fastify from 'fastify'",
        'src/users/users.ts imports default from fastify'
      ],
      [
        'src/users/users.ts',
        "import type { FastifyRequest } from 'fastify'",
        'src/users/users.ts imports FastifyRequest from fastify'
      ],
      [
        'src/users/users.ts',
        "declare module 'fastify' { interface FastifyRequest { user: string } }",
        'src/users/users.ts imports * from fastify'
      ],
      [
        'src/users/users.ts',
        "type Request = import('fastify').FastifyRequest",
        'src/users/users.ts imports FastifyRequest from fastify'
      ],
      [
        'src/users/users.ts',
        "const cookie = await import('@fastify/cookie')",
        'src/users/users.ts imports * from @fastify/cookie'
      ],
      [
        'src/users/users.ts',
        "import fp from 'fastify-plugin'",
        'src/users/users.ts imports default from fastify-plugin'
      ],
      [
        'src/users/users.ts',
        "import { document } from '../../plugins/problems.ts'",
        'src/users/users.ts imports document from plugins/problems.ts'
      ],
      [
        'src/users/users.ts',
        "import type { Typed } from '../../routes/typed.ts'",
        'src/users/users.ts imports Typed from routes/typed.ts'
      ],
      [
        'src/users/users.ts',
        "import { build } from '../server.ts'",
        'src/users/users.ts imports build from src/server.ts'
      ],
      [
        'src/users/users.ts',
        "import { register } from '../accounts/registration.ts'",
        'src/users/users.ts imports register from src/accounts/registration.ts'
      ],
      ['src/users/users.ts', "import argon2 from 'argon2'", 'src/users/users.ts imports default from argon2'],
      [
        'src/users/users.ts',
        "import { Type } from '@sinclair/typebox'",
        'src/users/users.ts imports Type from @sinclair/typebox'
      ],
      ['src/users/users.ts', "import lodash from 'lodash'", 'src/users/users.ts imports default from lodash'],
      [
        'src/users/users.ts',
        'const users = await import(name)',
        'src/users/users.ts imports * from what name says'
      ],
      ['src/users/users.ts', 'const send = (reply) => reply.send()', 'src/users/users.ts knows a reply'],
      [
        'src/users/users.ts',
        "import { hash } from '../passwords/passwords.ts'",
        'src/users/users.ts imports hash from src/passwords/passwords.ts'
      ],
      [
        'src/database/database.ts',
        "import type { User } from '../users/users.ts'",
        'src/database/database.ts imports User from src/users/users.ts'
      ],
      [
        'src/cli.ts',
        "import { Type } from '@sinclair/typebox'",
        'src/cli.ts imports Type from @sinclair/typebox'
      ],
      [
        'src/passwords/passwords.ts',
        "import argon2 from 'argon2'",
        'src/passwords/passwords.ts imports default from argon2'
      ],
      ['src/app.ts', "import argon2 from 'argon2'", 'src/app.ts imports default from argon2'],
      [
        'src/server.ts',
        "import express from 'express'",
        'src/server.ts needs express, which package.json does not list'
      ],
      ['src/users/users.ts', 'const { HOME } = process.env', 'src/users/users.ts reads the environment'],
      ['src/users/users.ts', "const home = process['env'].HOME", 'src/users/users.ts reads the environment'],
      ['src/users/users.ts', 'const { env } = process', 'src/users/users.ts reads the environment'],
      [
        'src/users/users.ts',
        'const home = globalThis.process.env.HOME',
        'src/users/users.ts reads the environment'
      ],
      [
        'src/users/users.ts',
        "import { env } from 'node:process'",
        'src/users/users.ts reads the environment'
      ],
      [
        'plugins/keyring.ts',
        "import './database.ts'",
        'plugins/keyring.ts imports the effects from plugins/database.ts'
      ],
      [
        'plugins/keyring.ts',
        "import type { Database } from './database.ts'",
        'plugins/keyring.ts imports Database from plugins/database.ts'
      ],
      [
        'plugins/keyring.ts',
        "import { User } from '../routes/schemas.ts'",
        'plugins/keyring.ts imports User from routes/schemas.ts'
      ],
      [
        'plugins/keyring.ts',
        "import app from '../src/app.ts'",
        'plugins/keyring.ts imports default from src/app.ts'
      ],
      ['plugins/keyring.ts', "import pg from 'pg'", 'plugins/keyring.ts imports default from pg'],
      [
        'plugins/keyring.ts',
        "import ts from 'typescript'",
        'plugins/keyring.ts needs typescript, which package.json does not list'
      ],
      [
        'plugins/keyring.ts',
        "await db.query('select kid from keys')",
        'plugins/keyring.ts has SQL: select kid from keys'
      ],
      [
        'plugins/verifier/fastify.ts',
        "import { Problem } from '../../src/http/problem.ts'",
        'plugins/verifier/fastify.ts imports Problem from src/http/problem.ts'
      ],
      [
        'plugins/verifier/fastify.ts',
        "import type { AccessTokenClaims } from '../access-token.ts'",
        'plugins/verifier/fastify.ts imports AccessTokenClaims from plugins/access-token.ts'
      ],
      [
        'plugins/verifier/fastify.ts',
        "import Fastify from 'fastify'",
        'plugins/verifier/fastify.ts imports default from fastify'
      ],
      [
        'plugins/verifier/keys.ts',
        "import { retry } from '../../src/jobs/retry.ts'",
        'plugins/verifier/keys.ts imports retry from src/jobs/retry.ts'
      ],
      [
        'plugins/verifier/keys.ts',
        "import { createVerifier } from 'fast-jwt'",
        'plugins/verifier/keys.ts imports createVerifier from fast-jwt'
      ],
      [
        'plugins/verifier/keys.ts',
        "import type { Typed } from '../../routes/typed.ts'",
        'plugins/verifier/keys.ts imports Typed from routes/typed.ts'
      ],
      [
        'plugins/keyring.ts',
        "import type { Auth } from './verifier/auth.ts'",
        'plugins/keyring.ts imports Auth from plugins/verifier/auth.ts'
      ],
      [
        'plugins/keyring.ts',
        "import { jwtVerify } from 'jose'",
        'plugins/keyring.ts imports jwtVerify from jose'
      ],
      [
        'plugins/keyring.ts',
        "import verifier from 'latchkey/verifier'",
        'plugins/keyring.ts needs latchkey, which package.json does not list'
      ],
      [
        'src/app.ts',
        "import verifier from '../plugins/verifier/fastify.ts'",
        'src/app.ts imports default from plugins/verifier/fastify.ts'
      ],
      [
        'src/users/users.ts',
        "import { backoff } from '../../plugins/verifier/backoff.ts'",
        'src/users/users.ts imports backoff from plugins/verifier/backoff.ts'
      ],
      [
        'routes/me/index.ts',
        "import fp from 'fastify-plugin'",
        'routes/me/index.ts imports default from fastify-plugin'
      ],
      [
        'routes/me/index.ts',
        "import Fastify, { type FastifyInstance } from 'fastify'",
        'routes/me/index.ts imports default, FastifyInstance from fastify'
      ],
      [
        'routes/me/index.ts',
        "import { mediaType } from '../../plugins/problems.ts'",
        'routes/me/index.ts imports mediaType from plugins/problems.ts'
      ],
      [
        'routes/me/index.ts',
        "import { opening } from '../auth/session.ts'",
        'routes/me/index.ts imports opening from routes/auth/session.ts'
      ],
      [
        'routes/me/index.ts',
        "import { validate } from 'uuid'",
        'routes/me/index.ts imports validate from uuid'
      ],
      [
        'routes/me/index.ts',
        'const rows = await db.query(`\n  insert into users (id)\n  values ($1)`)',
        'routes/me/index.ts has SQL: insert into users (id)'
      ],
      [
        'routes/me/index.ts',
        'await db.query(`UPDATE users u SET name = $1`)',
        'routes/me/index.ts has SQL: UPDATE users u SET name = $1'
      ],
      [
        'routes/me/index.ts',
        'await db.query(`with gone as (delete from users returning id) select id from gone`)',
        'routes/me/index.ts has SQL: with gone as (delete from users returning id) select id from gone'
      ],
      ['routes/me/index.ts', 'const home = process.env.HOME', 'routes/me/index.ts reads the environment'],
      [
        'routes/typed.ts',
        "import auth from './auth/index.ts'",
        'routes/typed.ts imports default from routes/auth/index.ts'
      ],
      [
        'routes/me/all.ts',
        "export * from './index.ts'",
        'routes/me/all.ts only passes on what others export'
      ],
      [
        'src/users/all.ts',
        "import { open } from './users.ts'\nexport { open }",
        'src/users/all.ts only passes on what others export'
      ],
      [
        'src/users/users.ts',
        'export function add (a: 1, b: 2, c: 3, d: 4, e: 5) {}',
        'src/users/users.ts: add has 5 parameters'
      ],
      ['src/utils.ts', 'export const one = 1', 'src/utils.ts is named for nothing that is inside'],
      [
        'src/date-helper.ts',
        'export const one = 1',
        'src/date-helper.ts is named for nothing that is inside'
      ],
      [
        'routes/common/index.ts',
        'export const one = 1',
        'routes/common/index.ts is named for nothing that is inside'
      ],
      [
        'src/session-manager.ts',
        'export const one = 1',
        'src/session-manager.ts is named for nothing that is inside'
      ]
    ]
    for (const [file, text, violation] of bad) t.strictSame(check(file, text), [violation], text)
  })

  t.test('accepts what keeps the rules', async t => {
    const good: Array<[file: string, text: string]> = [
      [
        'src/passwords/argon2-build.ts',
        [
          "import { cpus } from 'node:os'",
          "import argon2 from 'argon2'",
          "import pg from 'pg'",
          "import { digest } from '../crypto/sealing.ts'",
          'const pid = process.pid'
        ].join('\n')
      ],
      [
        'src/users/users.ts',
        [
          "import { open } from '../audit/events.ts'",
          "await db.query('select id from users') // the reply of process.env"
        ].join('\n')
      ],
      ['src/latchkey.cts', "process.env['UV_THREADPOOL_SIZE'] ||= '8'\nimport('./cli.ts')"],
      ['src/config/environment.ts', 'export const environment = () => process.env'],
      [
        'src/server.ts',
        [
          "import Fastify, { type FastifyReply } from 'fastify'",
          "import app from './app.ts'",
          "import { document } from '../plugins/problems.ts'",
          'export const refuse = (reply: FastifyReply) => reply.send()'
        ].join('\n')
      ],
      ['src/mail/commons.ts', "export { open } from './outbox.ts'\nexport const one = 1"],
      [
        'plugins/keyring.ts',
        [
          "import cookie from '@fastify/cookie'",
          "import fp from 'fastify-plugin'",
          "import type { OpenAPIV3 } from 'openapi-types'",
          "import { load } from '../src/tokens/keyring.ts'",
          'export default fp((app, reply) => {})'
        ].join('\n')
      ],
      [
        'plugins/verifier/fastify.ts',
        [
          "import type { FastifyInstance } from 'fastify'",
          "import fp from 'fastify-plugin'",
          "import { judge } from './access-token.ts'",
          "declare module 'fastify' { interface FastifyRequest { auth: string } }"
        ].join('\n')
      ],
      [
        'plugins/verifier/keys.ts',
        [
          "import { once } from 'node:events'",
          "import { createParser } from 'eventsource-parser'",
          "import { importJWK } from 'jose'",
          "import { backoff } from './backoff.ts'"
        ].join('\n')
      ],
      [
        'routes/me/index.ts',
        [
          "import { Type } from '@sinclair/typebox'",
          "import type { FastifyReply } from 'fastify'",
          "import * as users from '../../src/users/users.ts'",
          "import { User } from '../schemas.ts'",
          "import { strict } from '../typed.ts'",
          "import { profile } from './profile.ts'",
          "export const summary = 'Update the own account: select what to set, delete from it what is old'"
        ].join('\n')
      ],
      [
        'routes/me/profile.ts',
        '// select name from users\nexport const detail = "You may select one, or update it."'
      ]
    ]
    for (const [file, text] of good) t.strictSame(check(file, text), [], file)
  })

  t.test('finds cycles', async t => {
    const graph = (edges: Record<string, string[]>) => new Map(Object.entries(edges))
    t.strictSame(cycles(graph({ a: ['b', 'c'], b: ['c'], c: [] })), [])
    t.strictSame(cycles(graph({ a: ['b'], b: ['c'], c: ['a'] })), ['a > b > c > a'])
    t.strictSame(cycles(graph({ a: ['a'], b: ['c'], c: ['b'] })), ['a > a', 'b > c > b'])
  })
})
