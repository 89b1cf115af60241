import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { readMigrations } from '../src/database/migration-files.ts'
import { version } from '../src/version.ts'
import { closedPort, run } from './support/command-line.ts'
import { build } from './support/app.ts'
import { createDatabase, named, sql } from './support/postgres.ts'
import { isCompiled } from './support/program.ts'
import { redisServer, skip } from './support/redis.ts'
import { smtpServer } from './support/smtp.ts'
import { temporaryFolder } from './support/temporary-folder.ts'
import { t } from './support/test.ts'

const migrations = readMigrations().map(({ name }) => name)

const names = [
  'serve', 'migrate', 'keys list', 'keys rotate', 'clients create', 'clients list', 'sessions end',
  'calibrate', 'config check'
]
const usage = /Usage: latchkey <command> \[options\]\n\n {2}latchkey serve .*\n {2}latchkey migrate .*\n/

// Most of the time is the start of a process.
t.jobs = 2

t.test('--help lists every command, and what its exit codes mean', async t => {
  for (const args of [['--help'], ['-h'], ['help']]) {
    const { code, stdout, stderr } = await run(t, args)
    t.strictSame({ code, stderr }, { code: 0, stderr: '' }, args.join(' '))
    t.match(stdout, usage)
    for (const command of names) t.match(stdout, new RegExp(`^  latchkey ${command} +[A-Z].*\\.$`, 'm'))
    t.ok(stdout.split('\n').every(line => line.length <= 120), 'on a terminal')
    t.match(stdout, 'Exit codes: 0 success, 1 failure, 2 wrong usage, 78 invalid configuration.')
  }
})

t.test('--help after a command shows its usage, and runs nothing', async t => {
  for (const [command, meaning] of [
    ['serve', 'Run the service.'],
    ['migrate', 'Update the database schema, with the role of DATABASE_OWNER_URL if it is set.']
  ] as const) {
    const { code, stdout, stderr } = await run(t, [...command.split(' '), '--help'], {
      NODE_ENV: 'production'
    })
    t.strictSame({ code, stderr }, { code: 0, stderr: '' })
    t.match(stdout, new RegExp(`^Usage: latchkey ${command}.*\n\n${meaning}\n$`))
  }
  for (const [command, options] of [
    ['keys list', []],
    ['keys rotate', ['--now', '--drop KID']],
    ['clients create', ['--name NAME', '--scope SCOPE']],
    ['clients list', []],
    ['sessions end', ['--all', '--user USER']],
    ['calibrate', ['--target TIME']],
    ['config check', ['--connect']]
  ] as const) {
    const { code, stdout, stderr } = await run(t, [...command.split(' '), '--nonsense', '-h'], {
      NODE_ENV: 'production'
    })
    t.strictSame({ code, stderr }, { code: 0, stderr: '' })
    t.match(stdout, new RegExp(`^Usage: latchkey ${command}.*\n\n[A-Z].*\\.\n`))
    for (const option of options) t.match(stdout, new RegExp(`^  ${option} +[a-z]`, 'm'))
  }
})

t.test('--help after a group of commands lists only that group', async t => {
  const { code, stdout, stderr } = await run(t, ['keys', '--help'])
  t.strictSame({ code, stderr }, { code: 0, stderr: '' })
  t.strictSame([...stdout.matchAll(/^ {2}latchkey (\w+ \w+) /gm)].map(([, name]) => name), [
    'keys list', 'keys rotate'
  ])
})

t.test('on a version of Node.js that is too old, every command and the build say so', async t => {
  const folder = temporaryFolder(t)
  const preload = join(folder, 'old.cjs')
  for (const [node, hides] of [['18.20.8', false], ['20.18.3', false], ['22.2.0', true]] as const) {
    const versions = JSON.stringify({ ...process.versions, node })
    writeFileSync(preload, `
      Object.defineProperty(process, 'versions', { value: ${versions} })
      if (${hides}) delete process.getBuiltinModule`)
    const env = { ...process.env, NODE_OPTIONS: `--require ${preload}` }
    for (const program of [...isCompiled ? ['dist/src/latchkey.cjs'] : [], 'scripts/build.js']) {
      const { status, stdout, stderr } = spawnSync(process.execPath, [program], { env, encoding: 'utf8' })
      const message = `Latchkey cannot run on Node.js ${node}. It needs 20.19, 22.3 or a newer version.\n`
      t.strictSame({ status, stdout, stderr }, { status: 1, stdout: '', stderr: message }, program)
    }
  }
})

t.test('without the packages, the build says how to install them', async t => {
  const folder = temporaryFolder(t)
  mkdirSync(join(folder, 'scripts'))
  for (const file of ['package.json', 'scripts/build.js']) copyFileSync(file, join(folder, file))
  const options = { cwd: folder, encoding: 'utf8' } as const
  const { status, stderr } = spawnSync(process.execPath, ['scripts/build.js'], options)
  t.strictSame(
    { status, stderr },
    { status: 1, stderr: 'The packages of Latchkey are not installed. Run: npm ci\n' }
  )
})

t.test('--version prints the version of the package', async t => {
  t.strictSame(await run(t, ['--version']), { code: 0, stdout: `${version}\n`, stderr: '' })
})

t.test('wrong usage gives exit code 2, and the right usage and the problem on standard error', async t => {
  const user = '0199e8f2-6c1a-7b3e-9d5f-0a1b2c3d4e5f'
  const cases: Array<[args: string[], problem: string, right: RegExp | string]> = [
    [[], 'No command was given.', usage],
    [['sevre'], 'There is no command "sevre". Did you mean "serve"?', usage],
    [['user', 'create'], 'There is no command "user create". Did you mean "users create"?', usage],
    [['unlock'], 'There is no command "unlock".\n', usage],
    [['unlock', '--help'], 'There is no command "unlock".\n', usage],
    [
      ['users', 'creat', '--email', 'ada@example.com'],
      'There is no command "users creat". Did you mean "users create"?',
      /latchkey users create/
    ],
    [['users', 'create'], '--email is required.', 'latchkey users create '],
    [
      ['config'],
      'There is no command "config". Did you mean "config check"?',
      /options\]\n\n {2}latchkey config check .*\n\nOptions/
    ],
    [['toString'], 'There is no command "toString".', usage],
    [
      ['keys', 'burn'],
      'There is no command "keys burn". Did you mean "keys list" or "keys rotate"?',
      /options\]\n\n {2}latchkey keys list .*\n {2}latchkey keys rotate .*\n\nOptions/
    ],
    [['serve', '--prot', '3000'], "Unknown option '--prot'", 'latchkey serve\n'],
    [['serve', 'again'], "Unexpected argument 'again'", 'latchkey serve\n'],
    [['migrate', '--json=yes'], "Option '--json' does not take an argument", 'latchkey migrate '],
    [['keys', 'list', '--now'], "Unknown option '--now'", 'latchkey keys list '],
    [['keys', 'rotate', '--drop'], "Option '--drop <value>' argument missing", 'latchkey keys rotate '],
    [['keys', 'rotate', '--drop', '-xh'], "Option '--drop' argument is ambiguous", 'latchkey keys rotate '],
    [['clients', 'create'], '--name must have', 'latchkey clients create '],
    [['clients', 'create', '--name', 'a\nb', '--scope', 'a'], '--name must have', 'latchkey clients create '],
    [
      ['clients', 'create', '--name', 'Orders', '--scope', ' ,'],
      '--scope must name',
      'latchkey clients create '
    ],
    [
      ['clients', 'create', '--name', 'Orders', '--scope', 'good,b\\ad'],
      '"b\\ad" is not a scope',
      'latchkey clients create '
    ],
    ...['100', '0ms', '11s', '1.5s', '1m', ''].map((time): [string[], string, string] => [
      ['calibrate', '--target', time],
      '--target must be a time',
      'latchkey calibrate '
    ]),
    [['sessions', 'end'], 'Give either --all or --user', 'latchkey sessions end '],
    [['sessions', 'end', '--all', '--user', user], 'Give either --all or --user', 'latchkey sessions end '],
    [['sessions', 'end', '--user', 'ada'], '--user must be', 'latchkey sessions end ']
  ]
  for (const [args, problem, right] of cases) {
    // Reported before the configuration is read.
    const { code, stdout, stderr } = await run(t, args, { PORT: 'http' })
    t.strictSame({ code, stdout }, { code: 2, stdout: '' }, args.join(' '))
    t.match(stderr, right)
    const [, last = ''] = /^[^]*\n\n([^]+)$/.exec(stderr) ?? []
    t.ok(last.startsWith(problem), `${args.join(' ')}: the problem comes last`, { stderr })
  }
})

t.test('config check', async t => {
  t.test('accepts a valid configuration', async t => {
    t.strictSame(await run(t, ['config', 'check']), {
      code: 0,
      stdout: 'The configuration is valid.\n',
      stderr: ''
    })
    t.strictSame(await run(t, ['config', 'check', '--json']), {
      code: 0,
      stdout: '{"ok":true}\n',
      stderr: ''
    })
  })

  t.test('warns about what is allowed but probably a mistake', async t => {
    const { code, stdout } = await run(t, ['config', 'check'], {
      SMTP_URL: 'smtp://mail.example.com:465', MAIL_FROM: 'login@example.com', PORTT: '3000'
    })
    t.equal(code, 0)
    t.equal(
      stdout,
      'The configuration is valid.\n' +
      'Warning: PORTT is not a variable of Latchkey and has no effect: did you mean PORT?\n' +
      'Warning: SMTP_URL begins with smtp://, but port 465 is for TLS from the start: ' +
      'use smtps://, or port 587\n'
    )
  })

  t.test('--connect says what the database, Redis and the mail server answered', async t => {
    const url = await createDatabase(t)
    const login = { user: 'login', password: 's3cret' }
    const [smtp, redis] = await Promise.all([smtpServer(t, { login }), skip ? undefined : redisServer(t)])
    const environment = {
      DATABASE_URL: url,
      ...redis && { REDIS_URL: redis.url },
      SMTP_URL: smtp.url,
      MAIL_FROM: 'login@example.com'
    }
    const redisAnswer = redis ? 'REDIS_URL: Redis counts\n' : ''
    const untried = redis ? '' : 'Not set, so not tried: REDIS_URL\\.\n'
    const { code, stdout } = await run(t, ['config', 'check', '--connect'], environment)
    t.equal(code, 0)
    t.match(stdout, new RegExp([
      '^The configuration is valid\\.',
      'DATABASE_URL: PostgreSQL 1\\d.*, signed in as .+',
      `${redisAnswer}SMTP_URL: the mail server accepted the sign-in\n${untried}$`
    ].join('\n')))

    t.strictSame((await run(t, ['config', 'check', '--connect'])).stdout.split('\n'), [
      'The configuration is valid.', 'Not set, so not tried: DATABASE_URL, REDIS_URL, SMTP_URL.', ''
    ])

    await smtp.answer('AUTH', '535 5.7.8 Bad credentials', 1)
    const port = await closedPort()
    const failed = await run(t, ['config', 'check', '--connect', '--json'], {
      ...environment,
      DATABASE_URL: `postgres://latchkey:s3cret@127.0.0.1:${port}/latchkey`,
      REDIS_URL: `redis://:s3cret@127.0.0.1:${port}`
    })
    t.equal(failed.code, 1)
    t.notMatch(failed.stdout + failed.stderr, /s3cret/)
    t.match(JSON.parse(failed.stdout || failed.stderr), {
      ok: false,
      connections: [
        { variable: 'DATABASE_URL', ok: false, answer: /ECONNREFUSED/ },
        { variable: 'REDIS_URL', ok: false, answer: /ECONNREFUSED/ },
        {
          variable: 'SMTP_URL',
          ok: false,
          answer: /EAUTH, 535, AUTH PLAIN.* replied: 535 5\.7\.8 Bad credentials/
        }
      ]
    })
    t.equal(smtp.all().length, 0, 'no mail is sent')
  })

  t.test('lists every problem of an invalid one', async t => {
    const environment = { PORT: 'http', ISSUER_URL: 'auth.example.com', SESSION_TTL: '1y' }
    const problems = [
      'ISSUER_URL must be a URL that begins with https:// or http://',
      'PORT must be a whole number from 0 to 65535',
      'SESSION_TTL must be a time such as 30s, 15m, 12h or 7d, from 1s to 3650d'
    ]
    const message = `The configuration is not valid:\n${problems.map(problem => `  - ${problem}`).join('\n')}`
    t.strictSame(await run(t, ['config', 'check'], environment), {
      code: 78,
      stdout: '',
      stderr: `${message}\n`
    })
    const { code, stdout, stderr } = await run(t, ['config', 'check', '--json'], environment)
    t.strictSame({ code, stdout }, { code: 78, stdout: '' })
    t.strictSame(JSON.parse(stderr), { error: message, problems })
  })
})

t.test('migrate', async t => {
  t.test('prints what it applied, and the second time that nothing was left', async t => {
    const DATABASE_URL = await createDatabase(t, { empty: true })
    t.strictSame(await run(t, ['migrate'], { DATABASE_URL }), {
      code: 0,
      stdout: `Applied ${migrations.join(', ')}.\n`,
      stderr: ''
    })
    t.strictSame(await run(t, ['migrate'], { DATABASE_URL }), {
      code: 0,
      stdout: 'The database schema is up to date.\n',
      stderr: ''
    })
  })

  t.test('prints the same as JSON', async t => {
    const DATABASE_URL = await createDatabase(t, { empty: true })
    for (const applied of [migrations, []]) {
      const { code, stdout, stderr } = await run(t, ['migrate', '--json'], { DATABASE_URL })
      t.strictSame({ code, stderr }, { code: 0, stderr: '' })
      t.strictSame(JSON.parse(stdout), { applied, repaired: [], remaining: [] })
    }
  })

  t.test('refuses a database with another history', async t => {
    const DATABASE_URL = await createDatabase(t)
    await sql(DATABASE_URL, "update schema_migrations set checksum = 'other' where version = 1")
    const message = `${migrations[0]} is not the file that was applied: restore the file, ` +
      'or use a database that this version of Latchkey has migrated'
    t.strictSame(await run(t, ['migrate'], { DATABASE_URL }), { code: 1, stdout: '', stderr: `${message}\n` })
    const { code, stdout, stderr } = await run(t, ['migrate', '--json'], { DATABASE_URL })
    t.strictSame(
      { code, stdout, result: JSON.parse(stderr) },
      { code: 1, stdout: '', result: { error: message } }
    )
  })

  t.test('fails if the database cannot be reached, with one line without the password', async t => {
    const targetUrl = await createDatabase(t, { empty: true })
    const port = await closedPort()
    const otherUserUrl = new URL(targetUrl)
    otherUserUrl.username = 'stranger'
    otherUserUrl.password = 'hunter2'
    const cases: Array<[url: string, message: RegExp]> = [
      [
        `postgres://latchkey:hunter2@127.0.0.1:${port}/latchkey`,
        new RegExp(`ECONNREFUSED 127\\.0\\.0\\.1:${port}`)
      ],
      ['postgres://latchkey:hunter2@db.invalid/latchkey', /ENOTFOUND db\.invalid|EAI_AGAIN db\.invalid/],
      [named(targetUrl, 'missing'), /database "missing" does not exist/],
      [otherUserUrl.href, /"stranger"/]
    ]
    for (const [DATABASE_URL, message] of cases) {
      const { code, stdout, stderr } = await run(t, ['migrate'], { DATABASE_URL })
      t.strictSame({ code, stdout }, { code: 1, stdout: '' })
      t.match(stderr, message)
      t.match(stderr, /^.+\n$/)
      t.notMatch(stderr, 'hunter2')
    }
  })

  t.test('needs a valid configuration', async t => {
    const { code, stdout, stderr } = await run(t, ['migrate'], { DATABASE_URL: 'mysql://db/latchkey' })
    t.strictSame({ code, stdout }, { code: 78, stdout: '' })
    t.match(stderr, 'DATABASE_URL must be a URL that begins with postgres:// or postgresql://')
  })

  t.test('without DATABASE_URL uses the embedded database, and stops it afterwards', async t => {
    const cwd = temporaryFolder(t)
    t.strictSame(await run(t, ['migrate'], {}, cwd), {
      code: 0,
      stdout: `Applied ${migrations.join(', ')}.\n`,
      stderr: ''
    })
    t.notOk(existsSync(join(cwd, '.data/pg/postmaster.pid')))
    t.strictSame(await run(t, ['migrate'], {}, cwd), {
      code: 0,
      stdout: 'The database schema is up to date.\n',
      stderr: ''
    })
    t.notOk(existsSync(join(cwd, '.data/pg/postmaster.pid')))
  })
})

t.test('serve', async t => {
  const logs = (stdout: string): Array<Record<string, unknown>> =>
    stdout
      .split('\n')
      .filter(line => line !== '')
      .map(line => JSON.parse(line))

  t.test('in production lists everything that is missing', async t => {
    const { code, stdout, stderr } = await run(t, ['serve'], { NODE_ENV: 'production' })
    t.strictSame({ code, stdout }, { code: 78, stdout: '' })
    t.match(
      stderr,
      new RegExp([
        '^The configuration is not valid:',
        ' {2}- DATABASE_URL is required in production.*',
        ' {2}- KEY_ENCRYPTION_KEY is required in production.*',
        ' {2}- ISSUER_URL is required in production.*\n$'
      ].join('\n'))
    )
  })

  t.test('refuses a key-encryption key that is not the one of the database', async t => {
    const { url } = await build(t)
    const key = randomBytes(32).toString('base64')
    const { code, stdout, stderr } = await run(t, ['serve'], {
      DATABASE_URL: url,
      KEY_ENCRYPTION_KEY: key,
      PORT: '0'
    })
    t.notOk(logs(stdout).some(({ msg }) => String(msg).startsWith('listening')), 'before it listens')
    t.equal(code, 78)
    t.equal(
      stderr,
      'The configuration is not valid:\n  - KEY_ENCRYPTION_KEY does not decrypt the keys in the database: ' +
      'it was sealed with another KEY_ENCRYPTION_KEY\n'
    )
  })

  t.test('refuses a database that is newer than it', async t => {
    const DATABASE_URL = await createDatabase(t)
    await sql(DATABASE_URL, `
      insert into schema_migrations (version, name, checksum)
      select max(version) + 1, '999-future.sql', 'unknown' from schema_migrations`)
    const { code, stderr } = await run(t, ['serve'], { DATABASE_URL, PORT: '0' })
    t.strictSame(
      { code, stderr },
      {
        code: 1,
        stderr: 'the database is newer than this program: it has 999-future.sql, ' +
          `and the last one known here is ${migrations.at(-1)}\n`
      }
    )
  })

  t.test('refuses a HOST that is not an address of this machine', async t => {
    for (const HOST of ['203.0.113.7', 'no-such-host.invalid']) {
      t.match(await run(t, ['serve'], { DATABASE_URL: await createDatabase(t), HOST, PORT: '0' }), {
        code: 78, stderr: new RegExp(`HOST is ${HOST}, which is not an address of this machine: set HOST to `)
      })
    }
  })

  t.test('refuses a port that is in use', async t => {
    const other = createServer().listen(0, '127.0.0.1')
    t.teardown(() => { other.close() })
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    const { code, stderr } = await run(t, ['serve'], {
      DATABASE_URL: await createDatabase(t),
      PORT: String(port)
    })
    t.strictSame(
      { code, stderr },
      {
        code: 1,
        stderr: `Port ${port} of 127.0.0.1 is in use, perhaps by another Latchkey: ` +
          'stop that program, or choose another port with PORT.\n'
      }
    )
  })
})
