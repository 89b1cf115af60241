import { randomUUID } from 'node:crypto'
import { Agent, get } from 'node:http'
import { connect } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { once } from 'node:events'
import { findProblem, problemDefinitions } from '../../src/capabilities.ts'
import type { ProblemCode } from '../../src/http/problem.ts'
import { DrainingServer } from '../../src/server/draining-server.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { t } from '../support/test.ts'
import { ask, dial, requestText } from '../support/wire.ts'

/** Sends text as it is, and returns the head and the body of what arrives until the connection ends. */
async function sendRaw (service: Service, ...chunks: string[]): Promise<{ head: string, body: string }> {
  if (!service.app.server.listening) await service.app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = service.app.server.address() as AddressInfo
  const socket = connect(port, '127.0.0.1')
  let text = ''
  socket.setEncoding('utf8').on('data', chunk => { text += chunk }).on('error', () => {})
  for (const chunk of chunks) socket.write(chunk)
  await once(socket, 'close')
  const [head = '', body = ''] = text.split('\r\n\r\n')
  return { head, body }
}

/**
 * Sends bytes, and returns everything that arrives until the connection ends, and the error that it ends
 * with.
 */
async function exchange (port: number, bytes: string): Promise<{ text: string, error: unknown }> {
  const socket = connect(port, '127.0.0.1')
  let text = ''
  let error: unknown
  socket
    .setEncoding('latin1')
    .on('data', chunk => {
      text += chunk
    })
    .on('error', thrown => {
      error = thrown
    })
  socket.write(bytes)
  await once(socket, 'close')
  return { text, error }
}

t.test('every failure is a problem document', async t => {
  const service = await build(t)
  const browser = service.browser()
  const assertProblem = async (
    expected: string,
    answer: Promise<Awaited<ReturnType<typeof browser.get>>>
  ) => {
    const { status, headers, body } = await answer
    const {
      status: [expectedStatus],
      title
    } = findProblem(expected as ProblemCode)
    t.match(
      { status, headers, body },
      {
        status: expectedStatus,
        headers: {
          'content-type': /^application\/problem\+json/,
          'cache-control': 'no-store',
          'x-content-type-options': 'nosniff',
          'x-request-id': body.instance
        },
        body: {
          type: `http://localhost:3000/problems/${expected}`,
          title,
          status: expectedStatus,
          detail: /./,
          instance: /./,
          code: expected
        }
      },
      expected
    )
  }
  const json = { 'content-type': 'application/json' }

  await assertProblem('not_found', browser.get('/v2'))
  await assertProblem('not_found', browser.get('/v1/auth'))
  await assertProblem('not_found', browser.get('/v1/auth/login/'))
  await assertProblem('not_found', browser.get('/V1/me'))
  await assertProblem('not_found', browser.get('/problems/nothing'))
  await assertProblem('not_found', browser.send('OPTIONS', '/v1/nothing'))
  await assertProblem('not_found', browser.post('/nothing', '{', json))
  await assertProblem('method_not_allowed', browser.get('/v1/auth/login'))
  await assertProblem('method_not_allowed', browser.send('DELETE', '/livez'))
  await assertProblem('method_not_allowed', browser.send('PUT', '/v1/me', '{', json))
  await assertProblem('validation_failed', browser.get('/%zz'))
  await assertProblem('validation_failed', browser.get('/v1/auth/%c0%ae'))
  await assertProblem('validation_failed', browser.post('/v1/auth/login', '{', json))
  await assertProblem('validation_failed', browser.post('/v1/auth/login', '', json))
  await assertProblem('validation_failed', browser.post('/v1/auth/login', 'null'))
  await assertProblem('validation_failed', browser.post('/v1/auth/login', '[]'))
  await assertProblem('validation_failed', browser.post('/v1/auth/login', '"x"'))
  await assertProblem(
    'validation_failed',
    browser.post('/v1/auth/login', '{"email":"a","password":"b","__proto__":{"admin":true}}')
  )
  await assertProblem(
    'validation_failed',
    browser.post('/v1/auth/login', '{"email":"a","password":"b","constructor":{"prototype":{"admin":true}}}')
  )
  await assertProblem(
    'validation_failed',
    browser.post('/v1/auth/login', Buffer.from('{"email":"\xff","password":"x"}', 'latin1'))
  )
  await assertProblem('validation_failed', browser.post('/v1/auth/login?next=/', newUser()))
  await assertProblem('validation_failed', browser.post('/v1/auth/login', '['.repeat(30_000)))
  await assertProblem(
    'unsupported_media_type',
    browser.post('/v1/auth/login', 'email=a', { 'content-type': 'application/x-www-form-urlencoded' })
  )
  await assertProblem(
    'unsupported_media_type',
    browser.post('/v1/auth/login', 'x', { 'content-type': 'text/plain' })
  )
  await assertProblem(
    'unsupported_media_type',
    browser.post('/v1/auth/login', '{}', { 'content-type': 'nonsense' })
  )
  for (const charset of ['utf-16', 'iso-8859-1', 'utf-8x']) {
    const headers = { 'content-type': `application/json; charset=${charset}` }
    await assertProblem('unsupported_media_type', browser.post('/v1/auth/login', '{}', headers))
  }
  await assertProblem(
    'payload_too_large',
    browser.post('/v1/auth/login', JSON.stringify({ email: 'x'.repeat(66_000), password: 'x' }))
  )
  await assertProblem('invalid_credentials', browser.post('/v1/auth/login', newUser()))
  await assertProblem('invalid_token', browser.get('/v1/me'))
  await assertProblem('invalid_refresh_token', browser.post('/v1/auth/refresh'))
  await assertProblem(
    'password_rejected',
    browser.post('/v1/auth/register', { ...newUser(), password: 'password' })
  )

  t.test('the charset of a body can be any name of UTF-8 or US-ASCII', async t => {
    const user = newUser()
    await browser.post('/v1/auth/register', user)
    for (const charset of ['utf-8', 'utf8', 'UTF8', '"utf-8"', 'us-ascii', 'US-ASCII', 'ascii']) {
      const headers = { 'content-type': `application/json;charset=${charset}` }
      t.match(await service.browser().post('/v1/auth/login', user, headers), { status: 200 }, charset)
    }
  })

  t.test('a 405 response lists the methods of the path', async t => {
    t.match(await browser.get('/v1/auth/login'), { headers: { allow: 'POST' } })
    t.match(await browser.post('/v1/me'), { headers: { allow: 'GET, HEAD, PATCH' } })
    t.match(await browser.get('/v1/auth/login?x=/v1/me'), { status: 405 })
  })

  t.test('a validation problem names each invalid value by its JSON pointer, up to a maximum', async t => {
    const { body } = await browser.post('/v1/auth/register', {
      email: 5,
      remember: 'yes',
      refresh_token_delivery: 'mail',
      'a/b~c': 1
    })
    const pointers = new Set(body.errors.map(({ pointer }: { pointer: string }) => pointer))
    t.strictSame(
      pointers,
      new Set(['/email', '/password', '/remember', '/refresh_token_delivery', '/a~1b~0c'])
    )
    t.ok(body.errors.every(({ detail }: { detail: string }) => detail.length > 5))
    const flood = await browser.post(
      '/v1/auth/login',
      Object.fromEntries(Array.from({ length: 5000 }, (_, index) => [`p${index}`, 1]))
    )
    t.match(flood, { status: 400 })
    t.ok(flood.text.length < 3000)
  })

  t.test('a 500 response reveals no internals', async t => {
    service.app.passwords.verify = async () => { throw new TypeError('secret detail of the implementation') }
    const { status, text, body } = await browser.post('/v1/auth/login', newUser())
    t.equal(status, 500)
    t.equal(body.code, 'internal_error')
    t.notMatch(text, /secret|TypeError|\.[jt]s\b/)
    t.ok(
      service.logs.some(
        ({ err, request_id: id }) =>
          id === body.instance &&
          (err as { message?: string }).message === 'secret detail of the implementation'
      ),
      'the log has the details under the same request id'
    )
  })

  t.test('the type is the URL of a page about the problem', async t => {
    for (const { code } of problemDefinitions) {
      const page = await browser.get(`/problems/${code}`)
      t.match(page, { status: 200, headers: { 'content-type': /^text\/html/ } })
      t.ok(page.text.includes(`<code>${code}</code>`))
    }
    t.match(await browser.get('/problems/__proto__'), { status: 404 })
    t.match(await browser.get('/problems/toString'), { status: 404 })
  })
})

t.test('input that is not HTTP, too large or too slow gets a problem document, too', async t => {
  const service = await build(t, { REQUEST_TIMEOUT: '1s' })
  const problem = ({ head, body }: { head: string; body: string }) => ({
    status: Number(head.split(' ')[1]),
    head: head.toLowerCase(),
    ...JSON.parse(body)
  })

  t.match(problem(await sendRaw(service, 'nonsense\r\n\r\n')), {
    status: 400,
    code: 'validation_failed',
    head: /content-type: application\/problem\+json/
  })
  t.match(
    problem(
      await sendRaw(service, `GET /livez HTTP/1.1\r\nhost: x\r\nx-long: ${'x'.repeat(20_000)}\r\n\r\n`)
    ),
    { status: 431, code: 'headers_too_large' }
  )
  t.match(
    problem(
      await sendRaw(
        service,
        'POST /v1/auth/login HTTP/1.1\r\nhost: x\r\n' +
          'content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'
      )
    ),
    { status: 400 },
    'request smuggling'
  )
  t.match(
    problem(await sendRaw(service, 'GET /livez HTTP/1.1\r\nhost: x\r\n')),
    { status: 408, code: 'request_timeout', head: /x-request-id/ },
    'headers that do not end'
  )
  t.match(
    problem(
      await sendRaw(
        service,
        'POST /v1/auth/login HTTP/1.1\r\nhost: x\r\n' +
          'content-type: application/json\r\ncontent-length: 50\r\n\r\n{"email"'
      )
    ),
    { status: 408, code: 'request_timeout' },
    'a body that does not end'
  )
})

t.test('an idle connection lives for KEEP_ALIVE_TIMEOUT', async t => {
  const service = await build(t, { REQUEST_TIMEOUT: '1s' })
  await service.app.listen({ host: '127.0.0.1', port: 0 })
  const accepted = once(service.app.server, 'connection')
  const idleConnection = await dial((service.app.server.address() as AddressInfo).port)
  const [socket] = await accepted as [Socket]
  idleConnection.send(requestText('GET', '/livez'))
  t.match(
    (await idleConnection.answered())[0]?.head,
    /\r\nkeep-alive: timeout=75\b/i,
    'the response has the timeout'
  )
  t.ok((socket.timeout ?? 0) >= 75_000, 'longer than REQUEST_TIMEOUT')

  const impatient = await build(t, { KEEP_ALIVE_TIMEOUT: '1s' }, { url: service.url })
  await impatient.app.listen({ host: '127.0.0.1', port: 0 })
  const connection = await dial((impatient.app.server.address() as AddressInfo).port)
  const sentAt = performance.now()
  connection.send(requestText('GET', '/livez'))
  t.match((await connection.answered())[0]?.head, /\r\nkeep-alive: timeout=1\b/i)
  t.equal(await connection.ended, 'end')
  t.ok(performance.now() - sentAt >= 1_000, 'it does not end earlier')
})

t.test('a first request in HTTP/1.0 closes its own connection, and no other one', async t => {
  const service = await build(t)
  t.match(await sendRaw(service, 'GET /livez HTTP/1.0\r\n\r\n'), { head: /\r\nconnection: close/ })
  const closing = requestText('GET', '/livez', undefined, ['connection: close'])
  const { port } = service.app.server.address() as AddressInfo
  const { text } = await exchange(port, requestText('GET', '/livez').repeat(3) + closing)
  t.equal([...text.matchAll(/HTTP\/1\.1 200 /g)].length, 4)
})

t.test('a host name with several addresses is served, and closed, at each', async t => {
  const { app } = await build(t)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  if (!(app.server instanceof DrainingServer)) throw new Error('another server')
  await app.server.listenOnFurtherAddresses('127.0.0.2')
  const url = `http://127.0.0.2:${port}/livez`
  t.match(await ask('GET', url), { status: 200 })
  await app.close()
  await t.rejects(ask('GET', url), { code: 'ECONNREFUSED' })
})

t.test('unusual HTTP gets the usual responses', async t => {
  const service = await build(t, { CORS_ORIGINS: 'https://app.example.com' })
  const send = async (...lines: string[]) => {
    const { head, body } = await sendRaw(service, [...lines, 'connection: close', '', ''].join('\r\n'))
    return {
      status: Number(head.split(' ')[1]),
      head: head.toLowerCase(),
      code: body === '' ? undefined : JSON.parse(body).code
    }
  }
  const problem = /content-type: application\/problem\+json/

  t.match(
    await send('GET /livez HTTP/1.1'),
    { status: 400, code: 'validation_failed', head: problem },
    'no host'
  )
  t.match(
    await send('GET /livez HTTP/1.1', 'host: a', 'host: b'),
    { status: 400, code: 'validation_failed', head: /x-request-id/ },
    'two hosts'
  )
  t.match(await send('GET /livez HTTP/1.0'), { status: 200 }, 'HTTP/1.0 needs no host')
  t.match(await send('GET /livez HTTP/1.1', 'host: a', 'expect: miracles'), { status: 200 })
  t.match(await send('CONNECT example.com:443 HTTP/1.1', 'host: example.com:443'), {
    status: 405,
    code: 'method_not_allowed',
    head: problem
  })
  t.match(await send('PROPFIND /v1/me HTTP/1.1', 'host: a'), { status: 405, code: 'method_not_allowed' })
  t.match(await send('BREW /v1/me HTTP/1.1', 'host: a'), {
    status: 400,
    code: 'validation_failed',
    head: /x-xss-protection: 0/
  })
  t.match(
    await send('GET http://evil.example/livez HTTP/1.1', 'host: a'),
    { status: 200 },
    'an absolute URL counts as its path'
  )
  t.match(await send('OPTIONS * HTTP/1.1', 'host: a'), { status: 404, code: 'not_found' })
  t.match(
    await send('OPTIONS /v1/me HTTP/1.1', 'host: a', 'origin: https://app.example.com'),
    { status: 204 },
    'an OPTIONS request that is not a preflight'
  )
  t.match(await service.browser().send('OPTIONS', '/v1/me', '{', { origin: 'https://evil.example' }), {
    status: 400,
    headers: { 'content-type': /^application\/problem\+json/ }
  })
  t.match(await service.browser().post('/v1/auth/login', newUser(), { 'content-encoding': 'gzip' }), {
    status: 415,
    body: { code: 'unsupported_media_type' }
  })
  t.match(await service.browser().get('/docs/static/nothing.js'), {
    status: 404,
    body: { code: 'not_found' }
  })
  t.match(await service.browser().post('/docs/static/swagger-ui.css'), {
    status: 405,
    headers: { allow: /GET/ }
  })
})

t.test('a client that requests a tunnel can neither end the service nor keep the connection', async t => {
  const { app } = await build(t)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  const tunnel = 'CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n'
  const login = 'POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n' +
    'content-length: 56\r\n\r\n{"email":"a@example.com","password":"correct horse 123"}'

  for (const bytes of [tunnel, login + tunnel]) {
    const accepted = once(app.server, 'connection')
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    socket.on('error', () => {})
    const [accepting] = await accepted as [Socket]
    const closed = once(accepting, 'close').catch(() => {})
    socket.resume().write(bytes)
    await once(socket, 'end')
    socket.resetAndDestroy()
    await closed
  }

  const accepted = once(app.server, 'connection')
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const [accepting] = await accepted as [Socket]
  socket.resume().write(tunnel)
  await once(accepting, 'close')
  t.pass('the server closes its side')
  socket.destroy()

  t.match(await ask('GET', `http://127.0.0.1:${port}/livez`), { status: 200 })
})

t.test('pipelined requests', async t => {
  const verification = (id: number) =>
    `GET /v1/auth/verify HTTP/1.1\r\nhost: x\r\nx-request-id: r${id}\r\nauthorization: Bearer none\r\n\r\n`
  const idsOf = (text: string) => [...text.matchAll(/^x-request-id: r(\d+)/gm)].map(([, id]) => Number(id))
  const times = (count: number) => Array.from({ length: count }, (_, index) => index)
  const closing = 'GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n'

  async function received (service: Service, ...chunks: string[]): Promise<string> {
    if (!service.app.server.listening) await service.app.listen({ host: '127.0.0.1', port: 0 })
    const { port } = service.app.server.address() as AddressInfo
    const socket = connect(port, '127.0.0.1')
    let text = ''
    socket.setEncoding('latin1').on('data', chunk => { text += chunk })
    for (const chunk of chunks) socket.write(chunk)
    await once(socket, 'close')
    return text
  }

  await t.test('are answered in their order', async t => {
    const service = await build(t)
    const text = await received(service, ...times(900).map(verification), closing)
    t.strictSame(idsOf(text), times(900))
    t.match(text, /\{"status":"live"\}$/)
  })

  await t.test('are read completely, even if their bodies arrive later', async t => {
    const service = await build(t)
    const body = JSON.stringify({ refresh_token: 'x'.repeat(8_000) })
    const logout = (id: number) =>
      'POST /v1/auth/logout HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n' +
      `x-request-id: r${id}\r\ncontent-length: ${body.length}\r\n\r\n${body}`
    const text = await received(service, times(60).map(logout).join(''), closing)
    t.strictSame(idsOf(text), times(60))
    t.strictSame(
      new Set([...text.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, status]) => status)),
      new Set(['204', '200'])
    )
  })

  await t.test('do not delay other connections', async t => {
    const service = await build(t)
    await service.app.listen({ host: '127.0.0.1', port: 0 })
    const { port } = service.app.server.address() as AddressInfo
    const countProcessed = () => service.logs.filter(({ route }) => route === '/v1/auth/verify').length
    const sockets = times(4).map(() => connect(port, '127.0.0.1').on('error', () => {}))
    for (const socket of sockets) socket.write(times(900).map(verification).join(''))
    while (countProcessed() === 0) await new Promise(resolve => setImmediate(resolve))
    const before = countProcessed()
    t.match(await sendRaw(service, closing), { head: /^HTTP\/1\.1 200/ })
    t.ok(countProcessed() - before < 900, `${countProcessed() - before} of 3,600 were processed before it`)
    for (const socket of sockets) socket.destroy()
  })

  // Then the most plugins wait for the end of a response. A warning of Node.js fails the file.
  await t.test('can be for streams, with metrics and slow polling', async t => {
    const service = await build(t, { METRICS: 'public', IDLE_POLL_INTERVAL: '1h' })
    const { body: { access_token: token } } = await service.browser().post('/v1/auth/register', newUser())
    const dataExport = `GET /v1/me/export HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\n\r\n`
    t.match(await received(service, verification(0) + dataExport, closing), /HTTP\/1\.1 200[^]+"email"/)
  })

  await t.test('are processed one at a time if they are not safe', async t => {
    const service = await build(t)
    let [running, maxRunning] = [0, 0]
    service.app.passwords.verify = async () => {
      maxRunning = Math.max(maxRunning, ++running)
      await new Promise(resolve => setTimeout(resolve, 5))
      running--
      return false
    }
    const body = JSON.stringify(newUser())
    const login = 'POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n' +
      `content-length: ${body.length}\r\n\r\n${body}`
    const text = await received(service, login.repeat(10), closing)
    t.equal([...text.matchAll(/HTTP\/1\.1 401 /g)].length, 10)
    t.equal(maxRunning, 1)
  })

  await t.test('are not read while many of them wait', async t => {
    const service = await build(t)
    await service.app.listen({ host: '127.0.0.1', port: 0 })
    const { port } = service.app.server.address() as AddressInfo
    let release = () => {}
    const released = new Promise<void>(resolve => { release = resolve })
    service.app.passwords.verify = async () => {
      await released
      return false
    }
    const post = (path: string, body: object) => requestText('POST', path, body)
    const accepted = once(service.app.server, 'connection')
    const socket = connect(port, '127.0.0.1')
    const [accepting] = await accepted as [Socket]
    let answers = ''
    socket.setEncoding('latin1').on('data', chunk => { answers += chunk })
    socket.write(post('/v1/auth/login', newUser()))
    for (let count = 0; count < 200; count++) {
      socket.write(post('/v1/auth/logout', { refresh_token: 'x'.repeat(8_000) }))
      await new Promise(resolve => setImmediate(resolve))
    }
    socket.write(closing)
    for (let count = 0; count < 20; count++) {
      t.match(await sendRaw(service, closing), { head: /^HTTP\/1\.1 200/ })
    }
    t.ok(accepting.bytesRead < 600_000, `${accepting.bytesRead} bytes of 1.6 million were read`)
    release()
    await once(socket, 'close')
    t.equal([...answers.matchAll(/HTTP\/1\.1 204 /g)].length, 200)
  })

  await t.test('do not time out because the server was busy when they arrived', async t => {
    const service = await build(t, { REQUEST_TIMEOUT: '1s' })
    await service.app.listen({ host: '127.0.0.1', port: 0 })
    for (const earlier of ['', requestText('GET', '/livez')]) {
      const socket = connect((service.app.server.address() as AddressInfo).port, '127.0.0.1')
      let answers = ''
      socket.setEncoding('latin1').on('data', chunk => { answers += chunk })
      await once(socket, 'connect')
      await new Promise(resolve => setTimeout(resolve, 50))
      // What blocks the event loop now delays its timers, which come before what has arrived.
      await new Promise(resolve => setImmediate(resolve))
      socket.write(earlier + requestText('GET', '/livez', undefined, ['connection: close']))
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_500)
      await once(socket, 'close')
      t.match(answers, /^(HTTP\/1\.1 200 [^]*)+$/)
      t.notMatch(answers, / 408 /)
    }
  })

  await t.test('do not time out because earlier requests take long', async t => {
    const service = await build(t, { REQUEST_TIMEOUT: '1s' })
    service.app.passwords.verify = async () => {
      await new Promise(resolve => setTimeout(resolve, 700))
      return false
    }
    const slow = requestText('POST', '/v1/auth/login', newUser()).repeat(4)
    const long = 'x'.repeat(8_000)
    const kinds = {
      header: requestText('GET', '/livez', undefined, [`x-long: ${long}`]),
      body: requestText('POST', '/v1/auth/logout', { refresh_token: long })
    }
    for (const [kind, request] of Object.entries(kinds)) {
      const text = await received(service, slow, ...times(100).map(() => request), closing)
      const statuses = [...text.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, status]) => status)
      t.equal(statuses.length, 105, kind)
      t.notOk(statuses.includes('408'), kind)
    }

    const socket = connect((service.app.server.address() as AddressInfo).port, '127.0.0.1')
    let answers = ''
    socket.setEncoding('latin1').on('data', chunk => { answers += chunk })
    socket.write(slow + 'GET /livez HTTP/1.1\r\nho')
    await once(socket, 'close')
    t.match(
      answers,
      /(HTTP\/1\.1 [45]0[13] [^]*){4}HTTP\/1\.1 408 /,
      'an incomplete request gets 408 after the responses to the earlier ones'
    )
  })

  await t.test('are not processed after a response has closed the connection', async t => {
    const service = await build(t)
    const text = await received(service, closing + times(20).map(verification).join(''))
    t.strictSame(idsOf(text), [])
    t.equal(service.logs.filter(({ route }) => route === '/v1/auth/verify').length, 0)
  })
})

t.test('a request whose client has disconnected is logged, too', async t => {
  const service = await build(t)
  await service.app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = service.app.server.address() as AddressInfo
  const verificationStarted = new Promise<void>(resolve => {
    service.app.passwords.verify = async (_hash, _password, { signal } = {}) => {
      resolve()
      await once(signal ?? new AbortController().signal, 'abort')
      return false
    }
  })
  const body = JSON.stringify(newUser())
  const socket = connect(port, '127.0.0.1')
  socket.write(
    'POST /v1/auth/login HTTP/1.1\r\nhost: x\r\nx-request-id: gone\r\n' +
      `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
  )
  await verificationStarted
  socket.destroy()
  const line = () => service.logs.find(({ msg, request_id: id }) => msg === 'request' && id === 'gone')
  while (!line()) await new Promise(resolve => setTimeout(resolve, 10))
  t.match(line(), { method: 'POST', route: '/v1/auth/login', status: null, ip: '127.0.0.1' })
})

t.test('a request that takes too long gets 503, and its work is aborted', async t => {
  const service = await build(t, { REQUEST_TIMEOUT: '1s' })
  let signal: AbortSignal | undefined
  service.app.passwords.verify = async (_hash, _password, { signal: requestSignal } = {}) => {
    signal = requestSignal
    await once(requestSignal ?? new AbortController().signal, 'abort')
    return requestSignal?.throwIfAborted() ?? false
  }
  t.match(await service.browser().post('/v1/auth/login', newUser()), {
    status: 503,
    body: { code: 'overloaded' },
    headers: { 'retry-after': '1' }
  })
  t.ok(signal?.aborted)
})

t.test('headers', async t => {
  const service = await build(t, { ISSUER_URL: 'https://auth.example.com' })
  const { url } = service
  const overHttp = await build(t, {}, { url })

  t.test('protect the reader of a response', async t => {
    for (const path of ['/livez', '/nothing', '/v1/me', '/.well-known/jwks.json']) {
      t.match(
        (await service.browser().get(path)).headers,
        {
          'x-content-type-options': 'nosniff',
          'x-frame-options': 'DENY',
          'referrer-policy': 'no-referrer',
          'content-security-policy':
            "default-src 'none';base-uri 'none';form-action 'none';frame-ancestors 'none'",
          'strict-transport-security': /max-age=31536000; includeSubDomains/
        },
        path
      )
    }
    const { headers } = await overHttp.browser().get('/livez')
    t.notOk('strict-transport-security' in headers, 'plain http has no strict transport security')
  })

  t.test('keep a well-formed request id, and replace any other', async t => {
    for (const id of [
      'abc', '0199e8f2-6c1b-7000-8000-0a1b2c3d4e5f', 'x'.repeat(64),
      'Root=1-67891233-abcdef012345678912345678'
    ]) {
      t.equal((await service.browser().get('/livez', { 'x-request-id': id })).headers['x-request-id'], id)
    }
    for (const id of ['', 'x'.repeat(65), 'a b', 'a"b', '<script>', 'ü', '{"level":60}']) {
      t.match(
        (await service.browser().get('/livez', { 'x-request-id': id })).headers['x-request-id'],
        /^[0-9a-f-]{36}$/,
        id
      )
    }
  })

  t.test('allow the configured origins, and no others', async t => {
    const service = await build(
      t,
      { CORS_ORIGINS: 'https://app.example.com, https://admin.example.com:8443' },
      { url }
    )
    const preflight = {
      'access-control-request-method': 'PATCH',
      'access-control-request-headers': 'authorization'
    }
    const allowed = await service
      .browser()
      .send('OPTIONS', '/v1/me', undefined, { origin: 'https://admin.example.com:8443', ...preflight })
    t.match(allowed, {
      status: 204,
      headers: {
        'access-control-allow-origin': 'https://admin.example.com:8443',
        'access-control-allow-credentials': 'true',
        'access-control-allow-methods': /PATCH/,
        vary: /Origin/
      }
    })
    for (const origin of [
      'https://evil.example', 'https://app.example.com.evil.example', 'http://app.example.com',
      'https://app.example.com:444', 'null', '*'
    ]) {
      const answer = await service.browser().send('OPTIONS', '/v1/me', undefined, { origin, ...preflight })
      t.not(answer.status, 204, origin)
      t.notOk('access-control-allow-origin' in answer.headers)
      const simpleRequest = await service.browser().get('/livez', { origin })
      t.notOk(
        'access-control-allow-origin' in simpleRequest.headers ||
          'access-control-allow-credentials' in simpleRequest.headers
      )
    }
    t.match((await service.browser().get('/livez', { origin: 'https://app.example.com' })).headers, {
      'access-control-allow-origin': 'https://app.example.com',
      vary: /Origin/
    })
  })

  t.test('allow pages of this machine in development, for reading and for the refresh cookie', async t => {
    const service = await build(t, { NODE_ENV: 'development' }, { url })
    const signedIn = service.browser()
    await signedIn.post('/v1/auth/register', newUser())
    for (const origin of [
      'http://localhost:5173', 'http://127.0.0.1:8080', 'http://localhost', 'http://[::1]:5173'
    ]) {
      t.match(
        (await service.browser().get('/livez', { origin })).headers,
        { 'access-control-allow-origin': origin },
        origin
      )
      t.match(await signedIn.post('/v1/auth/refresh', undefined, { origin }), { status: 200 }, origin)
    }
    for (const origin of [
      'https://localhost:5173', 'http://localhost.evil.example', 'http://127.0.0.1.evil.example',
      'http://10.0.0.1', 'http://localhost:x', 'null'
    ]) {
      t.notOk(
        'access-control-allow-origin' in (await service.browser().get('/livez', { origin })).headers,
        origin
      )
      t.match(
        await signedIn.post('/v1/auth/refresh', undefined, { origin }),
        { status: 403, body: { code: 'cross_site_request' } },
        origin
      )
    }
    for (const environment of [
      { NODE_ENV: 'development', CORS_ORIGINS: 'https://app.example.com' },
      { NODE_ENV: 'development', ISSUER_URL: 'https://auth.example.com' },
      {}
    ]) {
      const closed = await build(t, environment, { url })
      const { headers } = await closed.browser().get('/livez', { origin: 'http://localhost:5173' })
      t.notOk('access-control-allow-origin' in headers, JSON.stringify(environment))
    }
  })

  t.test('of a proxy have an effect only if the proxy is trusted', async t => {
    const trustingProxy = await build(
      t,
      { ISSUER_URL: 'https://auth.example.com', TRUST_PROXY: '127.0.0.1' },
      { url: service.url }
    )
    const behindOtherProxy = await build(
      t,
      { ISSUER_URL: 'https://auth.example.com', TRUST_PROXY: '10.0.0.0/8' },
      { url: service.url }
    )
    const document = '/openapi.json'
    t.match(await trustingProxy.browser().get(document, { 'x-forwarded-proto': 'http' }), {
      status: 403,
      body: { code: 'https_required' }
    })
    t.match(await trustingProxy.browser().get(document, { 'x-forwarded-proto': 'https' }), { status: 200 })
    t.match(await trustingProxy.browser().get(document), { status: 200 }, 'a direct request is served')
    t.match(
      await behindOtherProxy.browser().get(document, { 'x-forwarded-proto': 'http' }),
      { status: 200 },
      'the header of an untrusted client has no effect'
    )
    const recordedAddress = async (service: Service, headers: Record<string, string>) => {
      const { body } = await service.browser().post('/v1/auth/register', newUser(), headers)
      return (
        await service.sql<{ ip: string }>('select host(ip) as ip from sessions where id = $1', [
          body.session_id
        ])
      )[0]?.ip
    }
    t.equal(await recordedAddress(trustingProxy, { 'x-forwarded-for': '203.0.113.7' }), '203.0.113.7')
    t.equal(
      await recordedAddress(trustingProxy, { 'x-forwarded-for': '198.51.100.1, 203.0.113.7' }),
      '203.0.113.7',
      'the address that the client wrote has no effect'
    )
    t.equal(await recordedAddress(behindOtherProxy, { 'x-forwarded-for': '203.0.113.7' }), '127.0.0.1')
    for (const [forwarded, expected] of [
      ['203.0.113.7:51234', '203.0.113.7'],
      ['[2001:db8::1]:443', '2001:db8::1'],
      ['[2001:db8::1]', '2001:db8::1'],
      ['fe80::1%eth0', 'fe80::1'],
      ['unknown', undefined],
      ['_hidden', undefined],
      ["'; drop table", undefined]
    ] as const) {
      t.equal(
        (await recordedAddress(trustingProxy, { 'x-forwarded-for': forwarded })) ?? undefined,
        expected,
        forwarded
      )
    }
    t.match(
      (
        await trustingProxy
          .browser()
          .get('/.well-known/oauth-authorization-server', {
            'x-forwarded-host': 'evil.example',
            host: 'evil.example'
          })
      ).body,
      { issuer: 'https://auth.example.com' },
      'host names come from the configuration'
    )
  })
})

t.test('limits', async t => {
  const service = await build(t, { RATE_LIMIT: '20/1m', TRUST_PROXY: '127.0.0.1' })
  const from = (address: string) => ({ 'x-forwarded-for': address })
  const exhaust = async (address: string, path = '/v1/me') => {
    for (let i = 0; i < 20; i++) await service.browser().get(path, from(address))
  }

  t.test('are in headers, and a request over a limit is refused', async t => {
    t.match(await service.browser().get('/v1/me', from('192.0.2.1')), {
      status: 401,
      headers: { 'ratelimit-limit': '20', 'ratelimit-remaining': '19', 'ratelimit-reset': '60' }
    })
    await exhaust('192.0.2.1')
    const answer = await service.browser().get('/v1/me', from('192.0.2.1'))
    t.match(answer, {
      status: 429,
      body: { code: 'too_many_requests' },
      headers: { 'retry-after': /^\d+$/, 'ratelimit-remaining': '0' }
    })
    t.ok(Number(answer.headers['retry-after']) > 50)
    t.match(
      await service.browser().get('/v1/me', from('192.0.2.2')),
      { status: 401 },
      'other networks are not limited'
    )
  })

  t.test('count requests for unknown paths, too', async t => {
    await exhaust('192.0.2.3', '/nothing')
    t.match(await service.browser().get('/nowhere', from('192.0.2.3')), { status: 429 })
  })

  t.test('are a fifth for routes that take a password', async t => {
    const statuses = []
    for (let i = 0; i < 6; i++) {
      statuses.push((await service.browser().post('/v1/auth/login', newUser(), from('192.0.2.4'))).status)
    }
    t.strictSame(statuses, [401, 401, 401, 401, 429, 429])
    for (let i = 0; i < 4; i++) await service.browser().post('/v1/auth/register', '{', from('192.0.2.4'))
    t.match(
      await service.browser().post('/v1/auth/register', newUser(), from('192.0.2.4')),
      { status: 429 },
      'malformed requests count'
    )
  })

  t.test('count a network: an IPv4-mapped address as its IPv4 address, and an IPv6 /64 as one', async t => {
    await exhaust('192.0.2.5')
    t.match(await service.browser().get('/v1/me', from('::ffff:192.0.2.5')), { status: 429 })
    t.match(
      await service.browser().get('/v1/me', from('192.0.2.5:4711')),
      { status: 429 },
      'the port has no effect'
    )
    await exhaust('2001:db8:1:2::1')
    t.match(await service.browser().get('/v1/me', from('2001:db8:1:2:ffff::9')), { status: 429 })
    t.match(await service.browser().get('/v1/me', from('2001:db8:1:3::1')), { status: 401 })
  })

  t.test('cannot be evaded by untrusted headers', async t => {
    const direct = await build(t, { RATE_LIMIT: '5/1m' }, { url: service.url })
    const statuses = []
    for (let i = 0; i < 7; i++) {
      statuses.push(
        (
          await direct
            .browser()
            .get('/v1/me', {
              'x-forwarded-for': `203.0.113.${i}`,
              forwarded: `for=203.0.113.${i}`,
              'x-real-ip': `203.0.113.${i}`
            })
        ).status
      )
    }
    t.strictSame(statuses, [401, 401, 401, 401, 401, 429, 429])
  })

  t.test('do not count what operators and verifiers poll', async t => {
    for (const path of ['/livez', '/readyz', '/.well-known/jwks.json']) {
      await exhaust('192.0.2.6', path)
      const { status, headers } = await service.browser().get(path, from('192.0.2.6'))
      t.equal(status, 200)
      t.notOk('ratelimit-limit' in headers)
    }
    t.match(await service.browser().get('/v1/me', from('192.0.2.6')), { status: 401 })
  })
})

t.test('more sign-ins than can be hashed wait for a while, and further ones get Retry-After', async t => {
  const service = await build(t, {
    ARGON2_MEMORY_KIB: '65536',
    ARGON2_TIME_COST: '4',
    ARGON2_CONCURRENCY: '1'
  })
  const { queue } = service.app.passwords
  const ada = newUser()
  await service.browser().post('/v1/auth/register', ada)
  const { body: { access_token: token } } = await service.browser().post('/v1/auth/login', ada)
  const logins = Array.from({ length: 150 }, async () => await service.browser().post('/v1/auth/login', ada))
  const refused = await Promise.any(logins.map(async login => {
    const answer = await login
    if (answer.status !== 503) throw new Error('not refused')
    return { answer, waiting: queue.waiting }
  }))
  t.match(refused.answer, {
    status: 503,
    body: { code: 'overloaded' },
    headers: { 'retry-after': /^[1-9]\d*$/ }
  })
  t.ok(refused.waiting > 0, 'it is rejected at once, while others wait')
  t.match(
    await service.browser().get('/v1/me', { authorization: `Bearer ${token}` }),
    { status: 200 },
    'a request without hashing does not wait'
  )
  t.ok(queue.waiting > 0)
  const statuses = new Set((await Promise.all(logins)).map(({ status }) => status))
  t.strictSame(statuses, new Set([200, 503]))
  t.equal(queue.waiting, 0)
})

t.test('the log has one line per request, and no secret', async t => {
  const service = await build(t, { LOG_LEVEL: 'trace' })
  const ada = { email: 'ada.the.first@example.com', password: 'a very secret phrase' }
  const browser = service.browser()
  const { body } = await browser.post('/v1/auth/register', { ...ada, refresh_token_delivery: 'body' })
  await browser.post('/v1/auth/login', ada, { 'x-request-id': 'the-login' })
  await browser.post('/v1/auth/login', { ...ada, password: 'another secret phrase' })
  await browser.post('/v1/auth/register', ada)
  await browser.post('/v1/auth/refresh', { refresh_token: body.refresh_token })
  await browser.post('/v1/auth/refresh')
  await browser.get('/v1/me?token=in-the-query', { authorization: `Bearer ${body.access_token}` })
  await browser.get('/v1/me', { authorization: 'Bearer made-up', 'user-agent': 'evil\n{"level":60}' })
  // Without the mails, which are in the log outside of production.
  const text = service.logs
    .filter(({ mail }) => mail === undefined)
    .map(line => JSON.stringify(line))
    .join('\n')
  for (const secret of [
    ada.password,
    'another secret phrase',
    ada.email,
    'lkr_',
    body.access_token.split('.')[2],
    'in-the-query',
    'made-up',
    'argon2id'
  ]) {
    t.notOk(text.includes(secret), secret)
  }
  const lines = service.logs.filter(({ msg }) => msg === 'request')
  t.equal(lines.length, 8)
  t.match(lines[1], {
    request_id: 'the-login',
    method: 'POST',
    route: '/v1/auth/login',
    status: 200,
    ms: Number,
    ip: '127.0.0.1'
  })
  t.notOk(lines.some(line => 'path' in line), 'JSON lines have the route, and not the path')
  t.strictSame(
    lines.map(({ code }) => code),
    [
      undefined, undefined, 'invalid_credentials', 'email_taken', 'validation_failed', undefined,
      'validation_failed', 'invalid_token'
    ]
  )
})

t.test('a connection', async t => {
  const service = await build(t)
  await service.app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = service.app.server.address() as AddressInfo
  const request = (version: string) =>
    `GET /livez HTTP/${version}\r\nhost: x\r\nconnection: keep-alive\r\n\r\n`

  for (const [version, count, expectedCount] of [
    ['1.1', 1_000, 1_000],
    ['1.1', 20_000, 1_000],
    ['1.0', 20_000, 1]
  ] as const) {
    await t.test(
      `serves ${expectedCount} of ${count} requests that are sent at once with HTTP/${version}, and closes`,
      async t => {
        const { text, error } = await exchange(port, request(version).repeat(count))
        const answers = text.split('HTTP/1.1 ').slice(1)
        t.equal(answers.length, expectedCount)
        t.ok(
          answers.every(answer => answer.startsWith('200 OK') && answer.endsWith('{"status":"live"}')),
          'each response is complete'
        )
        t.strictSame(
          answers.flatMap((answer, index) => (/^connection: close/im.test(answer) ? [index] : [])),
          [expectedCount - 1],
          'only the last one has connection: close'
        )
        t.equal(error, undefined)
      }
    )
  }

  await t.test('is replaced by a keep-alive client, without an error', async t => {
    let connections = 0
    service.app.server.on('connection', () => { connections++ })
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const statuses = new Set<number | undefined>()
    for (let i = 0; i < 2_500; i++) {
      const [response] = await once(get({ port, path: '/livez', agent }), 'response')
      await once(response.resume(), 'end')
      statuses.add(response.statusCode)
    }
    t.strictSame([...statuses], [200])
    t.equal(connections, 3)
    agent.destroy()
    connections = 0
    for (let i = 0; i < 2_500; i++) {
      const { status, body } = await fetch(`http://127.0.0.1:${port}/livez`)
      await body?.cancel()
      statuses.add(status)
    }
    t.strictSame([...statuses], [200])
  })
})

t.test('numbers and booleans of a query', async t => {
  const parameters: Array<{ method: string, url: string, name: string, type: string }> = []
  const service = await build(t, {}, {
    onRoute ({ method, url, schema }) {
      const properties: Record<string, { type?: string }> = Object(Object(schema?.querystring).properties)
      for (const [name, { type = '' }] of Object.entries(properties)) {
        if (!['integer', 'number', 'boolean'].includes(type)) continue
        for (const oneMethod of [method].flat()) {
          if (oneMethod !== 'HEAD') {
            parameters.push({ method: oneMethod, url: url.replaceAll(/:\w+/g, randomUUID()), name, type })
          }
        }
      }
    }
  })
  const browser = service.browser()
  const { body } = await browser.post('/v1/auth/register', newUser())
  await service.sql("update users set roles = '{user,admin}' where id = $1", [body.user.id])
  browser.accessToken = (await browser.post('/v1/auth/refresh')).body.access_token
  const send = async ({ method, url, name }: typeof parameters[number], text: string) =>
    await browser.send(method as 'GET' | 'DELETE', `${url}?${name}=${encodeURIComponent(text)}`)
  const rejection = (name: string) => ({
    status: 400,
    body: { code: 'validation_failed', errors: [{ pointer: `/${name}` }] }
  })

  t.test('are rejected on every route unless they are decimal digits, or true and false', async t => {
    t.ok(
      parameters.some(({ type }) => type === 'boolean') &&
        parameters.filter(({ type }) => type === 'integer').length >= 6,
      'the routes have such parameters'
    )
    const texts = [
      '1e999', '0x10', '+5', '-5', '5.0', ' 5', '5 ', '1e1', '', '٣', 'Infinity', 'NaN', 'null', '1_0', '0b1',
      '9'.repeat(400), '5\n'
    ]
    for (const parameter of parameters) {
      const invalidTexts =
        parameter.type === 'boolean' ? [...texts, '0', '1', 'TRUE', 'True', 'yes'] : [...texts, 'true']
      for (const text of invalidTexts) {
        t.match(
          await send(parameter, text),
          rejection(parameter.name),
          `${parameter.method} ${parameter.url} ${parameter.name}=${text.slice(0, 20)}`
        )
      }
    }
  })

  t.test('are accepted on every route if they are decimal digits, or true and false', async t => {
    for (const parameter of parameters) {
      const { status } = await send(parameter, parameter.type === 'boolean' ? 'false' : '16')
      t.ok([200, 204, 404].includes(status), `${parameter.method} ${parameter.url}: ${status}`)
    }
    t.equal((await browser.get('/v1/admin/users?limit=007')).status, 200)
  })
})
