import { dictionary } from '@zxcvbn-ts/language-common'
import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders, type RequestListener } from 'node:http'
import { pathToFileURL } from 'node:url'
import type { AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { isCommon } from '../../src/passwords/dictionary.ts'
import { rejectionReasons } from '../../src/passwords/policy.ts'
import { closedPort } from '../support/command-line.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { waitFor } from '../support/polling.ts'
import { moduleFile, nodeOptions } from '../support/program.ts'
import { t } from '../support/test.ts'

const register = async (service: Service, password: string, owner: object = {}) =>
  await service.browser().post('/v1/auth/register', { ...newUser(), ...owner, password })
/** Registers a user, and returns the reasons against the password; none if it is accepted. */
async function reasonsAgainst (service: Service, password: string, owner?: object): Promise<string[]> {
  const { status, body, text } = await register(service, password, owner)
  if (status === 201) return []
  if (status !== 422) throw new Error(text)
  return body.reasons
}

t.test('the length of a password', async t => {
  const service = await build(t)

  t.test('is the smaller of the lengths before and after normalisation', async t => {
    t.strictSame(await reasonsAgainst(service, '\ufdfa'), ['too_short'], 'one ligature of eighteen letters')
    t.strictSame(await reasonsAgainst(service, '\ufb03'.repeat(7)), ['too_short'])
    t.strictSame(await reasonsAgainst(service, '\ufb03'.repeat(8)), [])
    t.strictSame(
      await reasonsAgainst(service, 'e\u0301'.repeat(7)),
      ['too_short'], 'fourteen code points become seven'
    )
    t.strictSame(await reasonsAgainst(service, 'e\u0301'.repeat(8)), [])
  })

  t.test('has its upper limit after normalisation', async t => {
    t.strictSame(await reasonsAgainst(service, '\ufdfa'.repeat(15)), ['too_long'])
    const { email } = newUser()
    t.strictSame(await reasonsAgainst(service, 'e\u0301'.repeat(256), { email }), [])
    t.match(await service.browser().post('/v1/auth/login', { email, password: '\u00e9'.repeat(256) }), {
      status: 200
    })
    t.match(await service.browser().post('/v1/auth/login', { email, password: '\u00e9'.repeat(257) }), {
      status: 401
    })
  })
})

t.test('a password with a lone surrogate is rejected', async t => {
  const service = await build(t)
  await t.rejects(
    service.app.passwords.check('a lone surrogate \udc00 in it', { email: 'ada@example.com' }),
    { code: 'validation_failed' }
  )
})

t.test('common passwords', async t => {
  const service = await build(t)
  const list = dictionary['passwords-common']

  t.test('are exactly those of the list', async t => {
    t.ok(list.length > 30_000)
    t.strictSame(
      JSON.parse(
        readFileSync(new URL(import.meta.resolve('@zxcvbn-ts/language-common/src/passwords.json')), 'utf8')
      ),
      list, 'the file read is what the package exports'
    )
    t.strictSame(
      list.filter(
        (password, index) =>
          (index % 50 === 0 || index > list.length - 20 || index < 20) && !isCommon(password)
      ),
      []
    )
    const randomPasswords = Array.from({ length: 1_000 }, () => randomBytes(6).toString('hex'))
    const fragments = list
      .filter((_password, index) => index % 500 === 0)
      .flatMap(password => [
        `${password}"`,
        `"${password}"`,
        `${password}\\`,
        `${password}","${password}`,
        `${password}\n`,
        ` ${password}`
      ])
    t.strictSame([...randomPasswords, ...fragments, '', '"', ',', '","', '[', ']'].filter(isCommon), [])
  })

  t.test('are recognised in any case and width, but not inside longer passwords', async t => {
    for (const password of ['password1', 'PassWord1', 'ｐａｓｓｗｏｒｄ１', 'ＰＡＳＳＷＯＲＤ１']) {
      t.strictSame(await reasonsAgainst(service, password), ['too_common'], password)
    }
    for (const password of [
      'password1 ', ' password1', 'password1 password1', '"password1"', '123456\npassword1'
    ]) {
      t.strictSame(await reasonsAgainst(service, password), [], JSON.stringify(password))
    }
  })

  t.test('take half a megabyte of memory', async t => {
    const program = `
      import { setTimeout as pause } from 'node:timers/promises'
      // Garbage may be collected in several steps.
      const usedBytes = async (last = Infinity) => {
        gc()
        await pause(50)
        const { heapUsed, external } = process.memoryUsage()
        return heapUsed + external < last ? await usedBytes(heapUsed + external) : last
      }
      const [dictionary] = process.argv.slice(1)
      // What Node.js takes when it loads the first module of this kind does not count.
      const first = await import(dictionary + '?first')
      first.isCommon('a phrase of my own')
      await usedBytes()
      const before = await usedBytes(), startedAt = performance.now()
      const { isCommon } = await import(dictionary)
      const loaded = performance.now()
      isCommon('a phrase of my own')
      const asked = performance.now()
      const bytes = await usedBytes() - before
      console.log(JSON.stringify({ bytes, load: loaded - startedAt, ask: asked - loaded }))`
    const dictionary = pathToFileURL(moduleFile('src/passwords/dictionary.ts')).href
    // A measurement may include garbage that is not collected yet, so the smallest of several counts.
    const measured: number[] = []
    while (measured.length < 5 && !measured.some(bytes => bytes < 800_000)) {
      const options = [...nodeOptions, '--expose-gc', '--input-type=module', '-e', program, dictionary]
      const { stdout } = await promisify(execFile)(process.execPath, options, { env: {} })
      t.comment(stdout)
      measured.push(JSON.parse(stdout).bytes)
    }
    const bytes = Math.min(...measured)
    t.ok(bytes < 800_000, `${bytes} bytes`)
  })
})

t.test('words that name the owner or the service', async t => {
  const service = await build(t, { SERVICE_NAME: 'Blue Heron', ISSUER_URL: 'https://login.bücherei.co.uk' })
  const ofService = ['contains_service']
  const ofEmail = ['contains_email']
  const ofName = ['contains_name']
  const cases: Array<[password: string, owner: object, reasons: string[]]> = [
    ['the blue heron flies', {}, ofService],
    ['my BLUEHERON account', {}, ofService],
    ['blue skies, grey heron', {}, []],
    ['latchkey is another', {}, []],
    ['die BÜCHEREI am markt', {}, ofService],
    ['die bu\u0308cherei am markt', {}, ofService],
    ['my own login password', {}, []],
    ['find the co.uk in it', {}, []],
    ['margaret1984', { email: 'margaret+shop@example.com' }, ofEmail],
    ['nobody@straße.example!', { email: 'NOBODY@straße.example' }, ofEmail],
    ['mia@straße.example!', { email: 'mia@straße.example' }, ofEmail],
    ['miamiamia', { email: 'mia@example.net' }, []],
    ['example.com it is', { email: 'mia@example.com' }, []],
    ['ADA LOVELACE 1815', { name: 'Ada Lovelace' }, ofName],
    ['lovelace of my own', { name: 'Ada Lovelace' }, []],
    ['ada-lovelace', { username: 'ada-lovelace' }, ofName],
    ['adaadaada', { name: 'Ada', username: 'ada' }, []],
    ['likeliweipo', { name: 'Li Wei Po' }, ofName],
    ['οδυσσεασ και σια', { name: 'ΟΔΥΣΣΕΑΣ' }, ofName],
    ['hello GROSSMANN', { name: 'Großmann' }, ofName],
    ['ｃｏｕｎｔｅｓｓ of it', { username: 'countess' }, ofName],
    [
      'countess@blueheron',
      { username: 'countess', email: 'countess@example.com' },
      [...ofEmail, ...ofName, ...ofService]
    ]
  ]
  for (const [password, owner, expected] of cases) {
    t.strictSame(
      await reasonsAgainst(service, password, owner),
      expected,
      `${password} of ${JSON.stringify(owner)}`
    )
  }

  await t.test('do not include host labels that only say what the host does', async t => {
    const reasonsFor = (password: string, issuer: string) =>
      rejectionReasons(
        password,
        { email: 'mia@example.net' },
        { minLength: 8, serviceName: 'Latchkey', issuer }
      )
    for (const issuer of [
      'http://localhost:3000', 'https://auth.example.com', 'http://127.0.0.1:3000', 'http://[::1]:3000',
      'https://auth'
    ]) {
      t.strictSame(reasonsFor('localhost auth com 127.0.0.1 [::1]', issuer), [], issuer)
    }
    for (const issuer of [
      'https://auth.example.com', 'https://login.example.co.uk:8443', 'https://example.museum'
    ]) {
      t.strictSame(reasonsFor('an EXAMPLE of mine', issuer), ofService, issuer)
    }
  })
})

/** Starts a server of breached passwords. `respondWith` sets its behaviour. */
async function breachServer (t: Test) {
  const requests: Array<{ url: string | undefined, headers: IncomingHttpHeaders }> = []
  let listener: RequestListener = () => {}
  const server = createServer((request, response) => {
    requests.push({ url: request.url, headers: request.headers })
    listener(request, response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/range/`,
    requests,
    respondWith: (newListener: RequestListener) => { listener = newListener }
  }
}

const sha1Of = (password: string) => createHash('sha1').update(password).digest('hex').toUpperCase()
const otherLine = (count = 0) => `${randomBytes(18).toString('hex').slice(1).toUpperCase()}:${count}`
const matchingLine = (password: string, count: number) => `${sha1Of(password).slice(5)}:${count}`
/** Like Pwned Passwords: CRLF between the lines, and none after the last one. */
const lines200 = (...lines: string[]): RequestListener => (_request, response) => {
  response.writeHead(200, { 'content-type': 'text/plain' }).end(lines.join('\r\n'))
}

const logLines = (service: Service) =>
  service.logs
    .filter(({ msg }) => /^breached password lookup/.test(String(msg)))
    .map(({ level, msg }) => `${String(level)} ${String(msg)}`)
const failure = '40 breached password lookup failed; accepting new passwords without it'
const recovery = '30 breached password lookup works again'

/** Gives a lookup two minutes instead of half a second, so that a busy machine does not end it. */
function lengthenTimeouts (t: Test): void {
  const { timeout } = AbortSignal
  AbortSignal.timeout = milliseconds => timeout.call(AbortSignal, Math.max(milliseconds, 120_000))
  t.teardown(() => { AbortSignal.timeout = timeout })
}

t.test('a breached password', async t => {
  lengthenTimeouts(t)
  const password = 'a phrase that is known'
  const { url, requests, respondWith } = await breachServer(t)
  const service = await build(t, { BREACHED_PASSWORDS_URL: url, ARGON2_CONCURRENCY: '1' })

  await t.test('is rejected, and the server learns only five digits of its SHA-1', async t => {
    respondWith(lines200(otherLine(3), otherLine(), matchingLine(password, 1), otherLine(12)))
    t.strictSame(await reasonsAgainst(service, password), ['breached'])
    t.strictSame([...new Set(requests.map(({ url }) => url))], [`/range/${sha1Of(password).slice(0, 5)}`])
    t.match(requests[0]?.headers, {
      'add-padding': 'true',
      'user-agent': 'latchkey',
      cookie: undefined,
      authorization: undefined
    })
    t.strictSame(await reasonsAgainst(service, 'a phrase that is not'), [])
    t.equal(requests.at(-1)?.url, `/range/${sha1Of('a phrase that is not').slice(0, 5)}`)
  })

  await t.test('is recognised in lower-case hexadecimal and with other line ends', async t => {
    respondWith(lines200(`${otherLine(3)}\n${matchingLine(password, 70_000).toLowerCase()}\n`))
    t.strictSame(await reasonsAgainst(service, password), ['breached'])
  })

  await t.test('is recognised with composed and with decomposed characters', async t => {
    respondWith(lines200(matchingLine('caf\u00e9 cr\u00e8me', 5)))
    for (const spelling of ['caf\u00e9 cr\u00e8me', 'cafe\u0301 cre\u0300me']) {
      t.strictSame(await reasonsAgainst(service, spelling), ['breached'])
    }
  })

  await t.test('is neither one that a padding line names nor one with the same first digits', async t => {
    for (const lines of [[matchingLine(password, 0)], [otherLine(9), otherLine()], []]) {
      respondWith(lines200(...lines))
      t.strictSame(await reasonsAgainst(service, password), [], lines.join())
    }
  })

  await t.test(
    'is not looked up if another rule rejects it, at a sign-in, or without configuration',
    async t => {
      respondWith(lines200(matchingLine(password, 1)))
      const before = requests.length
      for (const other of ['password1', 'short', 'x'.repeat(257), 'my latchkey phrase']) {
        t.notMatch(await reasonsAgainst(service, other), ['breached'])
      }
      t.match(await service.browser().post('/v1/auth/login', { email: 'ada@example.com', password }), {
        status: 401
      })
      t.strictSame(await reasonsAgainst(await build(t), password), [])
      t.equal(requests.length, before)
    }
  )

  await t.test('is looked up without a place in the hashing queue or a database connection', async t => {
    respondWith(lines200(matchingLine(password, 1)))
    const { passwords: { queue }, db } = service.app
    let release = () => {}
    const released = new Promise<void>(resolve => { release = resolve })
    let holding = 0
    const hold = async () => {
      holding++
      await released
    }
    const held = [queue.run(hold), ...Array.from({ length: 10 }, async () => await db.transaction(hold))]
    await waitFor(() => holding >= held.length)
    t.strictSame(await reasonsAgainst(service, password), ['breached'])
    release()
    await Promise.all(held)
  })
})

t.test('if the server of breached passwords fails', async t => {
  const password = 'a phrase that is known'
  const matching = matchingLine(password, 4)
  const { url, requests, respondWith } = await breachServer(t)
  const service = await build(t, { BREACHED_PASSWORDS_URL: url })
  const check = async () => await service.app.passwords.check(password, { email: 'ada@example.com' })
  const faults: Record<string, [RequestListener, message: RegExp]> = {
    'the response is late': [(request, response) => {
      const timer = setTimeout(() => lines200(matching)(request, response), 60_000).unref()
      response.on('close', () => clearTimeout(timer))
    }, /aborted due to timeout/],
    'the response trickles': [(_request, response) => {
      response.writeHead(200, { 'content-type': 'text/plain' }).write(`${matching}\r\n`)
      const timer = setInterval(() => response.write(`${otherLine()}\r\n`), 50).unref()
      response.on('close', () => clearInterval(timer))
    }, /aborted due to timeout/],
    'the status is 500': [(_request, response) => { response.writeHead(500).end(matching) }, /status 500/],
    'the status is 429': [(_request, response) => {
      response.writeHead(429, { 'retry-after': '2' }).end(matching)
    }, /status 429/],
    'the status is 404': [(_request, response) => { response.writeHead(404).end(matching) }, /status 404/],
    'the response redirects': [(request, response) => {
      if (request.url === '/elsewhere') lines200(matching)(request, response)
      else response.writeHead(302, { location: '/elsewhere' }).end()
    }, /status 302/],
    'the response is HTML': [(_request, response) => {
      const html = `<html>\r\n${matching}\r\n</html>`
      response.writeHead(200, { 'content-type': 'text/html' }).end(html)
    }, /not a range/],
    'the response does not end': [(_request, response) => {
      response.writeHead(200, { 'content-type': 'text/plain' }).write(`${matching}\r\n`)
      const writeMore = () => {
        while (!response.destroyed && response.write(`${otherLine(1)}\r\n`.repeat(1_000)));
      }
      response.on('drain', writeMore)
      writeMore()
    }, /too large/],
    'the connection is closed': [request => { request.socket.destroy() }, /fetch failed/],
    'the response is not HTTP': [request => { request.socket.end('ranges, ranges\r\n\r\n') }, /fetch failed/]
  }

  for (const [name, [fault, message]] of Object.entries(faults)) {
    await t.test(
      `because ${name}, a new password is accepted without the lookup, and the log says so once`,
      async t => {
        if (!message.test('aborted due to timeout')) lengthenTimeouts(t)
        const [requestCount, lineCount] = [requests.length, logLines(service).length]
        respondWith(fault)
        await check()
        const { err } = service.logs.findLast(({ level }) => level === 40) ?? {}
        t.match(err, { message })
        t.strictSame(await reasonsAgainst(service, password), [])
        t.equal(requests.length, requestCount + 2, 'no redirect was followed')
        respondWith(lines200(matching))
        await waitFor(async () => (await reasonsAgainst(service, password)).includes('breached'))
        t.strictSame(logLines(service).slice(lineCount), [failure, recovery])
        const logged = JSON.stringify(service.logs)
        for (const secret of [password, sha1Of(password).slice(5), `range/${sha1Of(password).slice(0, 5)}`]) {
          t.notOk(logged.includes(secret))
        }
      }
    )
  }

  await t.test('no request waits longer than half a second for it', async t => {
    respondWith(() => {})
    const startedAt = performance.now()
    await check()
    t.ok(performance.now() - startedAt > 480)
    respondWith(lines200(matching))
    await waitFor(async () => (await reasonsAgainst(service, password)).includes('breached'))
  })

  await t.test('after three failures in a row, one lookup tries it again some seconds later', async t => {
    const lineCount = logLines(service).length
    respondWith((_request, response) => { response.writeHead(503).end() })
    const requestCount = requests.length
    for (let count = 0; count < 9; count++) await check()
    t.equal(requests.length, requestCount + 3)
    const pausedAt = performance.now()
    while (requests.length === requestCount + 3) {
      await pause(20)
      await Promise.all(Array.from({ length: 4 }, check))
    }
    t.ok(performance.now() - pausedAt > 4_000)
    t.equal(requests.length, requestCount + 4, 'one of four lookups')
    respondWith(lines200(matching))
    while (requests.length === requestCount + 4) {
      await pause(20)
      await check().catch(() => {})
    }
    await waitFor(async () => (await reasonsAgainst(service, password)).includes('breached'))
    t.strictSame(logLines(service).slice(lineCount, lineCount + 2), [failure, recovery])
  })

  await t.test('a hundred lookups run at a time, and the next one is rejected with a retry time', async t => {
    respondWith(() => {})
    const busy = await build(t, { BREACHED_PASSWORDS_URL: url })
    const lookups = Array.from(
      { length: 101 },
      async () => await busy.app.passwords.check(password, { email: 'ada@example.com' })
    )
    const refused = (await Promise.allSettled(lookups)).filter(({ status }) => status === 'rejected')
    t.match(refused, [{ reason: { code: 'overloaded', status: 503, headers: { 'retry-after': '1' } } }])
    t.equal(refused.length, 1)
  })

  await t.test('because it does not listen, a new password is accepted', async t => {
    const unreachable = await build(t, {
      BREACHED_PASSWORDS_URL: `http://127.0.0.1:${await closedPort()}/range/`
    })
    for (let count = 0; count < 5; count++) t.strictSame(await reasonsAgainst(unreachable, password), [])
    t.strictSame(logLines(unreachable), [failure])
  })
})
