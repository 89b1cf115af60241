import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { build, environment, newUser, type Service } from '../support/app.ts'
import { waitUntil } from '../support/polling.ts'
import { t } from '../support/test.ts'
import { ageTokenFamily } from '../support/token-family.ts'

/**
 * Parses Prometheus' text format 0.0.4. Returns the samples by their name and labels as they are written.
 * Throws if the text has another format.
 */
function parse (text: string): Map<string, number> {
  const samples = new Map<string, number>()
  const types = new Map<string, string>()
  if (!text.endsWith('\n')) throw new Error('the last line does not end')
  for (const line of text.split('\n').filter(line => line !== '' && !line.startsWith('# HELP '))) {
    const [, typed, type = ''] = /^# TYPE ([a-z_0-9]+) (counter|gauge|histogram|summary)$/.exec(line) ?? []
    if (typed !== undefined) {
      if (types.has(typed)) throw new Error(`two types of ${typed}`)
      types.set(typed, type)
      continue
    }
    const [, name = '', labels = '', value = ''] =
      /^([a-z_0-9]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (-?(?:\d[\d.e+-]*|Inf)|Nan|NaN)$/.exec(
        line
      ) ?? []
    const family = types.has(name) ? name : name.replace(/_(bucket|sum|count)$/, '')
    if (!types.has(family) || (family !== name && types.get(family) !== 'histogram')) {
      throw new Error(`not a sample: ${line}`)
    }
    const key = `${name}{${labels}}`
    if (samples.has(key)) throw new Error(`two samples of ${key}`)
    samples.set(key, Number(value))
  }
  return samples
}

const read = async (service: Service) => parse((await service.browser().get('/metrics')).text)

/**
 * Returns the increase of a sample by some work. Waits for it, because a request is counted after its
 * response.
 */
async function measureIncrease (
  service: Service,
  sample: string,
  work: () => Promise<unknown>
): Promise<number> {
  const value = async () => (await read(service)).get(sample) ?? 0
  const before = await value()
  await work()
  await waitUntil(`${sample} is not ${before}`, async () => await value() !== before)
  return (await value()) - before
}

t.test('the metrics', async t => {
  const service = await build(t, { RATE_LIMIT: '1000/1m', ARGON2_CONCURRENCY: '1' })
  const browser = service.browser()
  const ada = { ...newUser(), refresh_token_delivery: 'body' }
  const { body: first } = await browser.post('/v1/auth/register', ada)

  t.test('are text for Prometheus, also for HEAD, and not rate limited', async t => {
    const answer = await browser.get('/metrics')
    t.match(answer, {
      status: 200,
      headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8', 'cache-control': 'no-store' }
    })
    t.notOk('ratelimit-limit' in answer.headers)
    t.ok(parse(answer.text).size > 10)
    t.match(await browser.send('HEAD', '/metrics'), {
      status: 200,
      text: '',
      headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }
    })
  })

  t.test('have the build of argon2, and the number of rate limited requests', async t => {
    t.equal(
      (await read(service)).get(`latchkey_argon2_build_info{build="${service.app.passwords.build}"}`),
      1
    )
    t.equal((await read(service)).get('latchkey_rate_limits_shared{}'), 0)
    const limited = await build(t, { RATE_LIMIT: '5/1m' }, { url: service.url })
    t.equal(await measureIncrease(limited, 'latchkey_rate_limited_total{class="password"}', async () => {
      for (let i = 0; i < 3; i++) await limited.browser().post('/v1/auth/login', {})
    }), 2)
    t.equal((await read(limited)).get('latchkey_rate_limited_total{class="general"}'), 0)
  })

  t.test('count requests by route and never by path, and unknown paths together', async t => {
    const of = (method: string, route: string, status: string) =>
      `latchkey_http_request_duration_seconds_count{method="${method}",route="${route}",status="${status}"}`
    t.equal(await measureIncrease(service, of('GET', '/livez', '200'), () => browser.get('/livez')), 1)
    t.equal(
      await measureIncrease(service, of('GET', '/v1/me', '401'), () => browser.get('/v1/me?secret=1')),
      1
    )
    t.equal(
      await measureIncrease(service, of('GET', '/problems/:code', '200'), () =>
        browser.get('/problems/not_found')
      ),
      1
    )
    t.equal(
      await measureIncrease(service, of('GET', 'none', '404'), async () => {
        for (const path of ['/one', '/two', '/v1/auth/secret']) await browser.get(path)
      }),
      3
    )
    t.equal(
      await measureIncrease(service, of('DELETE', 'none', '405'), () => browser.send('DELETE', '/livez')),
      1
    )
    const { text } = await browser.get('/metrics')
    t.notMatch(text, /secret|\/one|not_found"|example\.com/)
  })

  t.test('count sign-ins and refreshes by their result', async t => {
    const login = (result: string, body: object) =>
      measureIncrease(service, `latchkey_logins_total{result="${result}"}`, () =>
        browser.post('/v1/auth/login', body)
      )
    t.equal(await login('ok', ada), 1)
    t.equal(await login('invalid_credentials', { ...ada, password: 'wrong' }), 1)
    t.equal(await login('validation_failed', { password: 1 }), 1)
    t.equal(await login('validation_failed', { ...ada, username: 'ada' }), 1)

    const refresh = async (result: string, token: string) => {
      let next = ''
      const by = await measureIncrease(service, `latchkey_refreshes_total{result="${result}"}`, async () => {
        next = (await browser.post('/v1/auth/refresh', { refresh_token: token })).body.refresh_token
      })
      t.equal(by, 1, result)
      return next
    }
    const second = await refresh('ok', first.refresh_token)
    await refresh('ok', await refresh('ok', second))
    await refresh('invalid_refresh_token', 'lkr_AQ')
    await ageTokenFamily(service, first.session_id, 3_600)
    await refresh('replayed', first.refresh_token)
  })

  t.test('tell of hashes: how many run and wait, how long, and which were refused', async t => {
    const { queue } = service.app.passwords
    t.equal(
      await measureIncrease(service, 'latchkey_hashing_duration_seconds_count{}', () =>
        browser.post('/v1/auth/login', ada)
      ),
      1
    )
    t.ok(((await read(service)).get('latchkey_hashing_duration_seconds_sum{}') ?? 0) > 0.000_1)
    let end = () => {}
    const held = queue.run(() => new Promise<void>(resolve => { end = resolve }))
    const controller = new AbortController()
    const gone = queue.run(async () => {}, { signal: controller.signal }).catch(() => {})
    const waits = queue.run(async () => {})
    const samples = await read(service)
    t.match(
      [samples.get('latchkey_hashing_running{}'), samples.get('latchkey_hashing_queue_depth{}')],
      [1, 2]
    )
    t.equal(
      await measureIncrease(service, 'latchkey_hashing_refused_total{reason="gone"}', async () =>
        controller.abort()
      ),
      1
    )
    t.equal(await measureIncrease(service, 'latchkey_hashing_wait_seconds_count{}', async () => end()), 1)
    await Promise.all([held, gone, waits])
    const after = await read(service)
    t.match([after.get('latchkey_hashing_running{}'), after.get('latchkey_hashing_queue_depth{}')], [0, 0])
  })

  t.test('are rendered once for simultaneous requests, and not more often for many', async t => {
    let renderings = 0
    const { app, browser } = await build(t)
    Object.defineProperty(app.rateLimiting, 'isShared', { get: () => { renderings++; return false } })
    const answers = await Promise.all(
      Array.from({ length: 1_100 }, async () => await browser().get('/metrics'))
    )
    t.ok(renderings >= 1 && renderings <= 20, `${renderings} renderings`)
    const refused = answers.filter(({ status }) => status !== 200)
    t.equal(answers.length - refused.length, 1_000)
    t.match(refused[0], { status: 503, body: { code: 'overloaded' }, headers: { 'retry-after': '1' } })
    t.equal((await browser().get('/metrics')).status, 200)
  })

  t.test('count the connections to the database', async t => {
    let end = () => {}
    const held = new Promise<void>(resolve => { end = resolve })
    const hold = async () => await service.app.db.transaction(async () => { await held })
    const work = Array.from({ length: 10 }, hold)
    const samples = await waitUntil('all connections are open', async () => {
      const samples = await read(service)
      return samples.get('latchkey_database_connections{}') === 10 && samples
    })
    t.equal(samples.get('latchkey_database_connections_idle{}'), 0)
    // The service's own polls wait with these two, and may come in between.
    work.push(hold(), hold())
    const waiting = (await read(service)).get('latchkey_database_queue_depth{}') ?? 0
    t.ok(waiting >= 2, `${waiting} wait`)
    end()
    await Promise.all(work)
  })
})

t.test('the metrics of a server that listens', async t => {
  const service = await build(t)
  await service.app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = service.app.server.address() as AddressInfo

  t.test('describe the process', async t => {
    const samples = parse(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text())
    for (const name of [
      'process_resident_memory_bytes', 'process_cpu_seconds_total', 'nodejs_eventloop_lag_p99_seconds',
      'nodejs_heap_size_used_bytes'
    ]) {
      t.ok(samples.has(`${name}{}`), name)
    }
  })

  t.test('count a request whose client does not wait', async t => {
    const reached = new Promise<void>(resolve => {
      service.app.passwords.verify = async (_hash, _password, { signal } = {}) => {
        resolve()
        if (signal) await once(signal, 'abort')
        return false
      }
    })
    const counted = await measureIncrease(
      service,
      'latchkey_http_request_duration_seconds_count{method="POST",route="/v1/auth/login",status="gone"}',
      async () => {
        const controller = new AbortController()
        const answer = fetch(`http://127.0.0.1:${port}/v1/auth/login`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(newUser()),
          signal: controller.signal
        }).catch(() => {})
        await reached
        controller.abort()
        await answer
      }
    )
    t.equal(counted, 1)
    t.equal((await read(service)).get('latchkey_logins_total{result="gone"}'), 1)
  })
})

t.test('a port for the metrics', async t => {
  const blocker = createServer().listen(0, '127.0.0.1')
  await once(blocker, 'listening')
  const { port } = blocker.address() as AddressInfo

  await t.test('that is in use fails the start, with its number in the error', async t => {
    await t.rejects(build(t, { METRICS_PORT: String(port) }), {
      message: `Port ${port} of 127.0.0.1 is in use: choose another port for the metrics with METRICS_PORT.`
    })
  })

  await t.test('serves them and nothing else, while the main port does not serve them', async t => {
    blocker.close()
    await once(blocker, 'close')
    const service = await build(t, { METRICS: 'off', METRICS_PORT: String(port), HOST: environment['HOST'] })
    const url = `http://127.0.0.1:${port}`
    const answer = await fetch(`${url}/metrics`)
    t.equal(answer.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
    t.ok(parse(await answer.text()).has('latchkey_hashing_queue_depth{}'))
    t.equal((await fetch(`${url}/metrics`, { method: 'HEAD' })).status, 200)
    const waiting = Array.from({ length: 1_000 }, async () => await service.app.metrics.text())
    const refused = await Promise.allSettled([...waiting, service.app.metrics.text()])
    t.match(refused.filter(({ status }) => status === 'rejected'), [{ reason: { code: 'overloaded' } }])
    for (const path of ['/', '/livez', '/v1/me']) t.equal((await fetch(url + path)).status, 404, path)
    t.equal((await service.browser().get('/metrics')).status, 404)
    t.notOk('/metrics' in (await service.browser().get('/openapi.json')).body.paths)
    await service.app.close()
    await t.rejects(fetch(`${url}/metrics`))

    const open = await build(t, { METRICS: 'public', METRICS_PORT: String(port), HOST: environment['HOST'] })
    t.equal((await fetch(`${url}/metrics`)).status, 200)
    t.equal((await open.browser().get('/metrics')).status, 404, 'not on the main port')
    await open.app.close()
  })
})
