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
import t, { type Test } from 'tap'
import { isCommon } from '../../src/passwords/dictionary.ts'
import { reasonsAgainst } from '../../src/passwords/policy.ts'
import { closedPort } from '../support/command-line.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { moduleFile, nodeOptions } from '../support/program.ts'

const register = async (service: Service, password: string, owner: object = {}) => await service.browser().post('/v1/auth/register', { ...newUser(), ...owner, password })
/** The reasons against a password; none where it is accepted. */
async function reasons (service: Service, password: string, owner?: object): Promise<string[]> {
  const { status, body, text } = await register(service, password, owner)
  if (status === 201) return []
  if (status !== 422) throw new Error(text)
  return body.reasons
}

t.test('the length of a password', async t => {
  const service = await build(t)

  t.test('is no more than what was typed, and no more than what is kept of it', async t => {
    t.strictSame(await reasons(service, '\ufdfa'), ['too_short'], 'a ligature of eighteen letters')
    t.strictSame(await reasons(service, '\ufb03'.repeat(7)), ['too_short'])
    t.strictSame(await reasons(service, '\ufb03'.repeat(8)), [])
    t.strictSame(await reasons(service, 'e\u0301'.repeat(7)), ['too_short'], 'fourteen code points are seven')
    t.strictSame(await reasons(service, 'e\u0301'.repeat(8)), [])
  })

  t.test('has its upper bound where it is compared, on whatever keyboard', async t => {
    t.strictSame(await reasons(service, '\ufdfa'.repeat(15)), ['too_long'])
    const { email } = newUser()
    t.strictSame(await reasons(service, 'e\u0301'.repeat(256), { email }), [])
    t.match(await service.browser().post('/v1/auth/login', { email, password: '\u00e9'.repeat(256) }), { status: 200 })
    t.match(await service.browser().post('/v1/auth/login', { email, password: '\u00e9'.repeat(257) }), { status: 401 })
  })
})

t.test('a password with half a pair of surrogates has no hash', async t => {
  const service = await build(t)
  await t.rejects(service.app.passwords.check('half a pair \udc00 of surrogates', { email: 'ada@example.com' }), { code: 'validation_failed' }, 'from wherever it comes')
})

t.test('common passwords', async t => {
  const service = await build(t)
  const list = dictionary['passwords-common']

  t.test('are all those of the list, and no others', async t => {
    t.ok(list.length > 30_000)
    t.strictSame(JSON.parse(readFileSync(new URL(import.meta.resolve('@zxcvbn-ts/language-common/src/passwords.json')), 'utf8')), list, 'what is read is what the package gives')
    t.strictSame(list.filter((password, index) => (index % 50 === 0 || index > list.length - 20 || index < 20) && !isCommon(password)), [])
    const others = Array.from({ length: 1_000 }, () => randomBytes(6).toString('hex'))
    const pieces = list.filter((_password, index) => index % 500 === 0).flatMap(password => [`${password}"`, `"${password}"`, `${password}\\`, `${password}","${password}`, `${password}\n`, ` ${password}`])
    t.strictSame([...others, ...pieces, '', '"', ',', '","', '[', ']'].filter(isCommon), [])
  })

  t.test('are known in any case and width, and not by what they are a part of', async t => {
    for (const password of ['password1', 'PassWord1', 'ｐａｓｓｗｏｒｄ１', 'ＰＡＳＳＷＯＲＤ１']) t.strictSame(await reasons(service, password), ['too_common'], password)
    for (const password of ['password1 ', ' password1', 'password1 password1', '"password1"', '123456\npassword1']) t.strictSame(await reasons(service, password), [], JSON.stringify(password))
  })

  t.test('cost half a megabyte', async t => {
    const program = `
      import { setTimeout as pause } from 'node:timers/promises'
      const used = async () => {
        for (let count = 0; count < 3; count++) { gc(); await pause(20) }
        return process.memoryUsage().heapUsed + process.memoryUsage().external
      }
      const [dictionary, other] = process.argv.slice(1)
      // What is only there to load a module is not the list's.
      import.meta.resolve('@zxcvbn-ts/language-common')
      await import(other)
      const before = await used(), began = performance.now()
      const { isCommon } = await import(dictionary)
      const loaded = performance.now()
      isCommon('a phrase of my own')
      const asked = performance.now()
      console.log(JSON.stringify({ bytes: await used() - before, load: loaded - began, ask: asked - loaded }))`
    const files = ['dictionary', 'pepper'].map(name => pathToFileURL(moduleFile(`src/passwords/${name}.ts`)).href)
    // What the collector has not come to yet is measured too: the least of some is what stays.
    const measured: number[] = []
    while (measured.length < 5 && !measured.some(bytes => bytes < 1_000_000)) {
      const { stdout } = await promisify(execFile)(process.execPath, [...nodeOptions, '--expose-gc', '--input-type=module', '-e', program, ...files], { env: {} })
      t.comment(stdout)
      measured.push(JSON.parse(stdout).bytes)
    }
    const bytes = Math.min(...measured)
    t.ok(bytes < 1_000_000, `${bytes} bytes`)
  })
})

t.test('what everybody knows of the owner and the service', async t => {
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
    ['countess@blueheron', { username: 'countess', email: 'countess@example.com' }, [...ofEmail, ...ofName, ...ofService]]
  ]
  for (const [password, owner, expected] of cases) t.strictSame(await reasons(service, password, owner), expected, `${password} of ${JSON.stringify(owner)}`)

  await t.test('is nothing of a host that is only called for what it does', async t => {
    const against = (password: string, issuer: string) => reasonsAgainst(password, { email: 'mia@example.net' }, { minLength: 8, serviceName: 'Latchkey', issuer })
    for (const issuer of ['http://localhost:3000', 'https://auth.example.com', 'http://127.0.0.1:3000', 'http://[::1]:3000', 'https://auth']) t.strictSame(against('localhost auth com 127.0.0.1 [::1]', issuer), [], issuer)
    for (const issuer of ['https://auth.example.com', 'https://login.example.co.uk:8443', 'https://example.museum']) t.strictSame(against('an EXAMPLE of mine', issuer), ofService, issuer)
  })
})

/** A server of breached passwords, that answers as it is told to. */
async function range (t: Test) {
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
    answer: (how: RequestListener) => { listener = how }
  }
}

const sha1 = (password: string) => createHash('sha1').update(password).digest('hex').toUpperCase()
const padding = (count = 0) => `${randomBytes(18).toString('hex').slice(1).toUpperCase()}:${count}`
const lineOf = (password: string, count: number) => `${sha1(password).slice(5)}:${count}`
/** As the service has it: CRLF between the lines, and none after the last one. */
const with200 = (...lines: string[]): RequestListener => (_request, response) => {
  response.writeHead(200, { 'content-type': 'text/plain' }).end(lines.join('\r\n'))
}

const told = (service: Service) => service.logs.filter(({ msg }) => /breached passwords/.test(String(msg))).map(({ level, msg }) => `${String(level)} ${String(msg)}`)
const failing = '40 breached password lookup failed; accepting new passwords without it'
const again = '30 breached password lookup works again'

/** The same, where it could be asked for; a machine that is busy may need more than the half second. */
async function informedReasons (service: Service, password: string): Promise<string[]> {
  for (;;) {
    const before = told(service).filter(line => line === failing).length
    const found = await reasons(service, password)
    if (told(service).filter(line => line === failing).length === before) return found
    await pause(100)
  }
}

t.test('a breached password', async t => {
  const password = 'a phrase that is known'
  const { url, requests, answer } = await range(t)
  const service = await build(t, { BREACHED_PASSWORDS_URL: url, ARGON2_CONCURRENCY: '1' })

  await t.test('is refused, and the server learns five digits of its SHA-1', async t => {
    answer(with200(padding(3), padding(), lineOf(password, 1), padding(12)))
    t.strictSame(await informedReasons(service, password), ['breached'])
    t.strictSame([...new Set(requests.map(({ url }) => url))], [`/range/${sha1(password).slice(0, 5)}`])
    t.match(requests[0]?.headers, { 'add-padding': 'true', 'user-agent': 'latchkey', cookie: undefined, authorization: undefined })
    t.strictSame(await informedReasons(service, 'a phrase that is not'), [])
    t.equal(requests.at(-1)?.url, `/range/${sha1('a phrase that is not').slice(0, 5)}`)
  })

  await t.test('is that in lower case hex and with other line ends, too', async t => {
    answer(with200(`${padding(3)}\n${lineOf(password, 70_000).toLowerCase()}\n`))
    t.strictSame(await informedReasons(service, password), ['breached'])
  })

  await t.test('is known however a keyboard composes it', async t => {
    answer(with200(lineOf('caf\u00e9 cr\u00e8me', 5)))
    for (const typed of ['caf\u00e9 cr\u00e8me', 'cafe\u0301 cre\u0300me']) t.strictSame(await informedReasons(service, typed), ['breached'])
  })

  await t.test('is not one whose line only pads, or that shares its first digits', async t => {
    for (const lines of [[lineOf(password, 0)], [padding(9), padding()], []]) {
      answer(with200(...lines))
      t.strictSame(await informedReasons(service, password), [], lines.join())
    }
  })

  await t.test('is not asked for where another rule refuses it, at a sign-in, or where nothing is configured', async t => {
    answer(with200(lineOf(password, 1)))
    const before = requests.length
    for (const other of ['password1', 'short', 'x'.repeat(257), 'my latchkey phrase']) t.notMatch(await reasons(service, other), ['breached'])
    t.match(await service.browser().post('/v1/auth/login', { email: 'ada@example.com', password }), { status: 401 })
    t.strictSame(await reasons(await build(t), password), [])
    t.equal(requests.length, before)
  })

  await t.test('needs no place among those that are hashed, and no connection', async t => {
    answer(with200(lineOf(password, 1)))
    const { passwords: { queue }, db } = service.app
    let release = () => {}
    const over = new Promise<void>(resolve => { release = resolve })
    let holding = 0
    const hold = async () => {
      holding++
      await over
    }
    const held = [queue.run(hold), ...Array.from({ length: 10 }, async () => await db.transaction(hold))]
    while (holding < held.length) await pause(5)
    t.strictSame(await informedReasons(service, password), ['breached'])
    release()
    await Promise.all(held)
  })
})

t.test('where breached passwords cannot be asked for', async t => {
  const password = 'a phrase that is known'
  const found = lineOf(password, 4)
  const { url, requests, answer } = await range(t)
  const service = await build(t, { BREACHED_PASSWORDS_URL: url })
  const check = async () => await service.app.passwords.check(password, { email: 'ada@example.com' })
  // How long it takes to hear that it is accepted; not much longer than 500 ms, whatever the machine has to do beside.
  const wait = async (t: Test) => {
    const began = performance.now()
    await check()
    const took = performance.now() - began
    t.ok(took < 2_500, `${Math.round(took)} ms`)
    return took
  }
  const ways: Record<string, [RequestListener, reason: RegExp]> = {
    'it answers too late': [(request, response) => { setTimeout(() => with200(found)(request, response), 5_000).unref() }, /aborted due to timeout/],
    'it answers in drops': [(_request, response) => {
      response.writeHead(200, { 'content-type': 'text/plain' }).write(`${found}\r\n`)
      const drops = setInterval(() => response.write(`${padding()}\r\n`), 50).unref()
      response.on('close', () => clearInterval(drops))
    }, /aborted due to timeout/],
    'it fails': [(_request, response) => { response.writeHead(500).end(found) }, /status 500/],
    'it has enough': [(_request, response) => { response.writeHead(429, { 'retry-after': '2' }).end(found) }, /status 429/],
    'it does not know the path': [(_request, response) => { response.writeHead(404).end(found) }, /status 404/],
    'it sends elsewhere': [(request, response) => { if (request.url === '/elsewhere') with200(found)(request, response); else response.writeHead(302, { location: '/elsewhere' }).end() }, /status 302/],
    'it is something else': [(_request, response) => { response.writeHead(200, { 'content-type': 'text/html' }).end(`<html>\r\n${found}\r\n</html>`) }, /no range/],
    'it does not stop': [(_request, response) => {
      response.writeHead(200, { 'content-type': 'text/plain' }).write(`${found}\r\n`)
      const more = () => { while (!response.destroyed && response.write(`${padding(1)}\r\n`.repeat(1_000))); }
      response.on('drain', more)
      more()
    }, /too large/],
    'it hangs up': [request => { request.socket.destroy() }, /fetch failed/],
    'it speaks no HTTP': [request => { request.socket.end('ranges, ranges\r\n\r\n') }, /fetch failed/]
  }

  for (const [name, [way, reason]] of Object.entries(ways)) {
    await t.test(`because ${name}, a new password is accepted without, and the log says so once`, async t => {
      const [asked, lines] = [requests.length, told(service).length]
      answer(way)
      const took = await wait(t)
      const { err } = service.logs.findLast(({ level }) => level === 40) ?? {}
      t.match(err, { message: took < 490 ? reason : /aborted due to timeout/ })
      t.strictSame(await reasons(service, password), [])
      t.equal(requests.length, asked + 2, 'nobody went elsewhere')
      answer(with200(found))
      while (!(await reasons(service, password)).includes('breached')) await pause(100)
      t.strictSame(told(service).slice(lines), [failing, again])
      const logged = JSON.stringify(service.logs)
      for (const secret of [password, sha1(password).slice(5), `range/${sha1(password).slice(0, 5)}`]) t.notOk(logged.includes(secret))
    })
  }

  await t.test('nobody is waited for longer than half a second', async t => {
    answer(() => {})
    t.ok(await wait(t) > 480)
    answer(with200(found))
    while (!(await reasons(service, password)).includes('breached')) await pause(100)
  })

  await t.test('after three failures in a row, they are asked for again by one, some seconds later', async t => {
    const lines = told(service).length
    answer((_request, response) => { response.writeHead(503).end() })
    const asked = requests.length
    for (let count = 0; count < 9; count++) await wait(t)
    t.equal(requests.length, asked + 3)
    const paused = performance.now()
    while (requests.length === asked + 3) {
      await pause(20)
      await Promise.all(Array.from({ length: 4 }, check))
    }
    t.ok(performance.now() - paused > 4_000)
    t.equal(requests.length, asked + 4, 'one of four')
    answer(with200(found))
    while (requests.length === asked + 4) {
      await pause(20)
      await check().catch(() => {})
    }
    while (!(await reasons(service, password)).includes('breached')) await pause(100)
    t.strictSame(told(service).slice(lines, lines + 2), [failing, again])
  })

  await t.test('a hundred are asked for at a time, and the next is told to come again', async t => {
    answer(() => {})
    const busy = await build(t, { BREACHED_PASSWORDS_URL: url })
    const lookups = Array.from({ length: 101 }, async () => await busy.app.passwords.check(password, { email: 'ada@example.com' }))
    const refused = (await Promise.allSettled(lookups)).filter(({ status }) => status === 'rejected')
    t.match(refused, [{ reason: { code: 'overloaded', status: 503, headers: { 'retry-after': '1' } } }])
    t.equal(refused.length, 1)
  })

  await t.test('because nobody listens, a new password is accepted', async t => {
    const alone = await build(t, { BREACHED_PASSWORDS_URL: `http://127.0.0.1:${await closedPort()}/range/` })
    for (let count = 0; count < 5; count++) t.strictSame(await reasons(alone, password), [])
    t.strictSame(told(alone), [failing])
  })
})
