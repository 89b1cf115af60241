import type { Test } from 'tap'
import { build, newUser } from '../support/app.ts'
import { t } from '../support/test.ts'

t.test('a request that does not match the schema is told what is wrong, and where', async t => {
  const service = await build(t)
  const browser = service.browser()
  const expectRejection = async (t: Test, body: object, expected: { detail: string, errors: object[] }) =>
    t.match(
      await browser.post('/v1/auth/login', body),
      { status: 400, body: { code: 'validation_failed', ...expected } },
      expected.detail
    )
  const wrong = (pointer: string, detail: string) => ({ pointer, detail })

  await t.test('in a sentence if one place is wrong', async t => {
    const login = { email: 'ada@example.com', password: 'a phrase of my own' }
    await expectRejection(t, { email: login.email }, {
      detail: '`password` is required.', errors: [wrong('/password', 'is required')]
    })
    await expectRejection(t, { ...login, password: '' }, {
      detail: '`password` must not be empty.', errors: [wrong('/password', 'must not be empty')]
    })
    await expectRejection(t, { ...login, remember: 'yes' }, {
      detail: '`remember` must be true or false.', errors: [wrong('/remember', 'must be true or false')]
    })
    await expectRejection(t, { ...login, extra: 1 }, {
      detail: '`extra` is not a known property.', errors: [wrong('/extra', 'is not a known property')]
    })
  })

  await t.test('each place once if several are wrong', async t => {
    const { body } = await browser.post('/v1/auth/login', { email: 5 })
    t.equal(body.detail, 'The body does not match the schema.')
    const pointers = body.errors.map(({ pointer }: { pointer: string }) => pointer)
    t.strictSame([...new Set(pointers)].sort(), pointers.sort())
    t.strictSame(pointers, ['/email', '/password'])
  })

  await t.test('also in a path and a query', async t => {
    const { body: { access_token: token } } = await browser.post('/v1/auth/register', newUser())
    const bearer = { authorization: `Bearer ${token as string}` }
    t.match(await browser.send('DELETE', '/v1/me/sessions/nonsense', undefined, bearer), {
      status: 400, body: { detail: '`id` must be a UUID.', errors: [wrong('/id', 'must be a UUID')] }
    })
    t.match(await browser.get('/v1/me/sessions?limit=0', bearer), {
      status: 400, body: { detail: '`limit` must be at least 1.' }
    })
  })
})

t.test('a password that is rejected is told why in words', async t => {
  const service = await build(t)
  const { body } = await service.browser().post('/v1/auth/register', { ...newUser(), password: '12345678' })
  t.match(body, {
    code: 'password_rejected',
    detail: /^The password is .*one of the most common passwords\. Choose a longer/
  })
})

t.test('a request without a token is told how to send one', async t => {
  const service = await build(t)
  t.match((await service.browser().get('/v1/me')).body, { detail: /^No access token was sent\. Send it as/ })
})

t.test('an unknown route is told apart from a resource that does not exist', async t => {
  const service = await build(t)
  const browser = service.browser()
  t.match((await browser.get('/nope')).body, { code: 'not_found', detail: 'There is no such route.' })
  const { body: { access_token: token } } = await browser.post('/v1/auth/register', newUser())
  const path = '/v1/me/sessions/00000000-0000-7000-8000-000000000000'
  const bearer = { authorization: `Bearer ${token as string}` }
  t.match((await browser.send('DELETE', path, undefined, bearer)).body, {
    code: 'not_found', detail: 'The resource does not exist, or it belongs to someone else.'
  })
})
