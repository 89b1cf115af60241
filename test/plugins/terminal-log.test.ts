import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import type { Test } from 'tap'
import { createTerminalLog } from '../../src/server/terminal-log.ts'
import { environment } from '../support/app.ts'
import { closedPort } from '../support/command-line.ts'
import { createDatabase } from '../support/postgres.ts'
import { commandOf } from '../support/program.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { t } from '../support/test.ts'

const script = '/usr/bin/script'
const cli = commandOf('src/latchkey.cts')
const skip = !existsSync(script) && 'script(1) is missing, which provides a terminal'
const escape = '\x1b'

/** Runs the service on a terminal, and returns everything that the terminal shows. */
async function startOnTerminal (t: Test, more: Record<string, string> = {}) {
  const port = String(await closedPort())
  const base = `http://127.0.0.1:${port}`
  const { KEY_ENCRYPTION_KEY: _key, ...cheap } = environment
  const env = {
    PATH: process.env['PATH'],
    TERM: 'xterm',
    ...cheap,
    NODE_ENV: 'development',
    PORT: port,
    DATABASE_URL: await createDatabase(t),
    ...more
  }
  const child = spawn(script, ['-qec', `exec ${process.execPath} ${cli.join(' ')} serve`, '/dev/null'], {
    cwd: temporaryFolder(t),
    env
  })
  let screen = ''
  child.stdout.on('data', chunk => { screen += chunk })
  const ended = once(child, 'close')
  t.teardown(async () => {
    child.kill('SIGTERM')
    await ended
  })
  const until = async (text: string | RegExp) => {
    while (!screen.match(text)) {
      if (child.exitCode !== null) throw new Error(screen)
      await new Promise(resolve => setTimeout(resolve, 20))
    }
  }
  const post = async (path: string, body?: object) => {
    const headers = { ...body && { 'content-type': 'application/json' } }
    const response = await fetch(`${base}${path}`, {
      method: 'POST',
      headers,
      ...(body && { body: JSON.stringify(body) })
    })
    await response.arrayBuffer()
  }
  return { port, base, child, ended, post, until, screen: () => screen.replaceAll('\r', '') }
}

t.test('on a terminal in development', { skip }, async t => {
  await t.test(
    'the service prints a greeting, one line per request, and the links of mails',
    async t => {
      const { port, base, child, ended, post, until, screen } = await startOnTerminal(t, { NO_COLOR: '1' })
      await until('Ctrl-C')
      t.match(screen(), `Service   http://localhost:${port}\n`)
      t.match(screen(), `API docs  http://localhost:${port}/docs\n`)
      t.match(screen(), /Database {2}127\.0\.0\.1:\d+\/\w+\n/)
      t.notMatch(screen(), /latchkey:/, 'without the password')
      t.match(
        screen(),
        `Pages     http://localhost:${port}/ (first steps, sign-in, emails)\n`
      )
      t.match(
        screen(),
        /Mail {6}shown here and on the start page; set SMTP_URL/
      )
      t.match(
        screen(),
        `    PORT=${port} npx latchkey users create --email you@example.com --role user,admin\n`
      )

      const ada = { email: 'ada@example.com', password: 'a phrase of my own' }
      await post('/v1/auth/register', ada)
      await post('/v1/auth/login', { ...ada, password: 'wrong' })
      await (await fetch(`${base}/v1/me?token=in-the-query`)).arrayBuffer()
      await (await fetch(`${base}/%1b[31mred`)).arrayBuffer()
      await until('not_found')
      await until(/email-verification#token=/)
      t.match(screen(), /^\d\d:\d\d:\d\d POST {4}201 +\d+ ms \/v1\/auth\/register$/m)
      t.match(screen(), /^\d\d:\d\d:\d\d POST {4}401 +\d+ ms \/v1\/auth\/login invalid_credentials$/m)
      t.match(screen(), /^\d\d:\d\d:\d\d GET {5}401 +\d+ ms \/v1\/me\?… invalid_token/m)
      t.match(
        screen(),
        new RegExp(
          `mail to ada@example\\.com: .+\nhttp://localhost:${port}/email-verification#token=lkl_[\\w-]+\n`
        )
      )
      for (const secret of ['in-the-query', 'a phrase of my own', '{"level"', escape]) {
        t.notOk(screen().includes(secret), secret)
      }
      t.equal([...screen().matchAll(/ ms \//g)].length, 4)

      child.stdin.write('\x03')
      await ended
      t.match(screen(), /stopping on SIGINT\n$/)
    }
  )

  await t.test('the log has colours, and has none with NO_COLOR', async t => {
    const { until, screen, post } = await startOnTerminal(t)
    await until('Ctrl-C')
    await post('/v1/auth/login')
    await until(escape)
    t.match(screen(), `${escape}[`)
  })

  await t.test(
    'a database that is away is reported once, and its return with the failed attempts',
    async t => {
      const { until, screen } = await startOnTerminal(t, {
        NO_COLOR: '1',
        DATABASE_URL: `postgres://latchkey:hunter2@127.0.0.1:${await closedPort()}/latchkey`
      })
      await until('Ctrl-C')
      t.match(screen(), /Database {2}127\.0\.0\.1:\d+\/latchkey \(not reachable yet\)/)
      t.equal(
        [...screen().matchAll(/warning: database not available; retrying until it is/g)].length,
        1,
        'although three seconds have passed'
      )
      t.notMatch(screen(), /hunter2/)
    }
  )

  await t.test('LOG_FORMAT=json gives lines of JSON, and so does production', async t => {
    const { until, screen } = await startOnTerminal(t, { LOG_FORMAT: 'json' })
    await until('service started')
    for (const line of screen().trim().split('\n')) t.match(JSON.parse(line), { level: Number, msg: String })
  })
})

t.test('without a terminal the log is JSON, unless LOG_FORMAT is pretty', async t => {
  const run = async (more: Record<string, string>) => await new Promise<string>(resolve => {
    const env = {
      ...environment,
      PATH: process.env['PATH'],
      PORT: '0',
      DATABASE_URL: 'postgres://127.0.0.1:1/none',
      ...more
    }
    const child = execFile(
      process.execPath,
      [...cli, 'serve'],
      { cwd: temporaryFolder(t), env },
      (_error, stdout) => resolve(stdout)
    )
    child.stdout?.on('data', chunk => { if (/service started|Ctrl-C/.test(chunk)) child.kill('SIGTERM') })
  })
  for (const line of (await run({})).trim().split('\n')) t.ok(JSON.parse(line).time, line)
  const pretty = await run({ LOG_FORMAT: 'pretty' })
  t.match(pretty, /Press Ctrl-C to stop/)
  t.notOk(pretty.includes(escape), 'without colours')
})

t.test('the log for a person', async t => {
  const text = (...entries: object[]) => {
    let written = ''
    const log = createTerminalLog({ write: line => { written += line }, isColored: false, columns: () => 60 })
    for (const entry of entries) log.write(`${JSON.stringify({ level: 30, time: 0, ...entry })}\n`)
    return written.replaceAll(/^\d\d:\d\d:\d\d/gm, 'TIME')
  }

  t.test('shows control characters of a client instead of obeying them', async t => {
    const hostile = '/\x1b[2J\x9b2J\u202e\r\n'
    const controlCharacters = '\u001b\u009b\u202e\r'
    const controls = new RegExp(`[${controlCharacters}]`)
    t.equal(
      text({ msg: 'request', method: 'GET', path: hostile, status: 404, ms: 1.4 }),
      'TIME GET     404     1 ms /\\u001b[2J\\u009b2J\\u202e\\u000d\\u000a\n'
    )
    t.notMatch(text({ msg: hostile, field: hostile, err: { message: hostile } }), controls)
    t.notMatch(
      text({ msg: 'x', mail: { to: hostile, subject: hostile, link: 'http://localhost' } }),
      controls
    )
  })

  t.test('has the cause of a refusal in the line of its request', async t => {
    const refusal = {
      msg: 'request refused',
      request_id: '1',
      code: 'invalid_token',
      err: { message: 'the token has expired' }
    }
    const request = {
      msg: 'request',
      request_id: '1',
      method: 'GET',
      path: '/v1/me',
      status: 401,
      code: 'invalid_token',
      ms: 2
    }
    t.equal(
      text(refusal, request), 'TIME GET     401     2 ms /v1/me invalid_token (the token has expired)\n'
    )
  })

  t.test('says what became of a refused refresh token', async t => {
    const refused = (cause: object) => text(
      { msg: 'request refused', request_id: '1', code: 'invalid_refresh_token', cause },
      { msg: 'request', request_id: '1', method: 'POST', path: '/v1/auth/refresh', status: 401 })
    const session = { sessionId: 'a-session', presented: 1 }
    t.match(
      refused({ ...session, confirmed: 3, replayed: true }),
      '(reuse of token 1, although token 3 is current: session ended)')
    t.match(
      refused({ ...session, confirmed: 3, replayed: false }),
      '(token 1 is superseded, token 3 is current; within the grace period)')
    t.match(refused({ ...session, confirmed: null, replayed: false }), '(the session has ended or expired)')
  })

  t.test('shows disconnected clients and requests that are not HTTP', async t => {
    t.match(text({ msg: 'request', method: 'GET', path: '/', status: null, ms: 2 }), /GET {5}gone /)
    t.match(
      text({ msg: 'request', method: null, route: null, status: 400, code: 'validation_failed' }),
      /\(not valid HTTP\) validation_failed/
    )
  })

  t.test('breaks long warnings between words, and shows why and where an error happened', async t => {
    const lines = text({
      level: 40,
      msg: 'a warning that is much too long for the width of this small terminal',
      err: { message: 'because of this', stack: 'hidden' }
    }).split('\n')
    t.strictSame(lines, [
      'TIME warning: a warning that is much too long for the', '         width of this small terminal',
      '         because of this', ''
    ])
    t.match(
      text({
        level: 50,
        msg: 'request failed',
        err: { message: 'x', stack: 'TypeError: x\n    at here (file.js:1:2)' }
      }),
      /error: request failed\n {9}TypeError: x\n {9}at here \(file\.js:1:2\)\n/
    )
  })
})
