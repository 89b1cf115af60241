import { brotliCompressSync, gzipSync } from 'node:zlib'
import { problemDefinitions } from '../../src/capabilities.ts'
import { languages } from '../../src/http/language.ts'
import { Problem } from '../../src/http/problem.ts'
import { renderConsent } from '../../routes/pages/consent-view.ts'
import { renderError } from '../../routes/pages/error-view.ts'
import { renderRedirectPage } from '../../routes/pages/redirect-view.ts'
import { linkFailureOf } from '../../routes/pages/mailed-link-state.ts'
import { renderForgot, renderSignIn, renderSignUp } from '../../routes/pages/sign-in-views.ts'
import { hostile, pageContext, pageStates } from '../support/page-states.ts'
import { t } from '../support/test.ts'

const { script, style } = pageContext.assets
const assets = await Promise.all([script, style].map(async ({ content }) =>
  (await content.select(undefined)).body))
const fresh = { language: 'en' as const, typed: {}, requestId: 'id' }

t.test('every state of every page', async t => {
  t.test('is smaller than 12 kB, with its style and its script', async t => {
    for (const [name, page] of pageStates('de')) {
      const parts = [Buffer.from(page), ...assets]
      for (const compress of [brotliCompressSync, gzipSync]) {
        const size = parts.reduce((sum, part) => sum + compress(part).length, 0)
        t.ok(size < 12_000, `${name}: ${size}`)
      }
    }
  })

  t.test('has no inline script or style, and loads nothing from elsewhere', async t => {
    for (const [name, page] of pageStates('en')) {
      t.notMatch(page, /<script(?! src="\/assets\/)|<style|\sstyle=|\son\w+=|src="(?!\/assets\/)/, name)
    }
  })

  t.test('has a title, and says if it tells about a failure', async t => {
    for (const language of languages) {
      for (const [name, page] of pageStates(language)) {
        const [, title = ''] = /<title>(.*)<\/title>/.exec(page) ?? []
        t.ok(title.endsWith(' · Acme &amp; Söhne'), name)
        const isFailure = page.includes('role="alert"') || /^(not found|error)/.test(name)
        t.equal(/^(Error|Fehler): /.test(title), isFailure, name)
        t.match(page, `<html lang="${language}">`)
      }
    }
  })

  t.test('differs in German and English', async t => {
    const english = pageStates('en')
    for (const [name, page] of pageStates('de')) {
      const [one, other] = [page, english.get(name) ?? ''].map(text => /<h1>(.*?)<\/h1>/.exec(text)?.[1])
      if (name !== 'mail') t.not(one, other, name)
    }
  })
})

t.test('no page shows what a problem says in English', async t => {
  const detail = 'Words of the API.'
  for (const definition of problemDefinitions) {
    const problem = new Problem(definition, { detail })
    const state = { ...fresh, language: 'de' as const, problem }
    const pages = [
      renderError(pageContext, state),
      ...[renderSignIn, renderSignUp, renderForgot].map(render => render(pageContext, state))
    ]
    const failure = linkFailureOf(pageContext, problem, 'de', [])
    for (const text of [...pages, `${failure?.title} ${failure?.text}`]) {
      for (const english of [detail, definition.title, definition.meaning]) {
        t.notOk(text.includes(english), definition.code)
      }
    }
  }
})

t.test('the request of a client', async t => {
  t.test('goes along with every form and link between sign-in, sign-up and forgot', async t => {
    const continuation = { sealed: 'a+b/c=', clientName: 'Orders' }
    for (const render of [renderSignIn, renderSignUp, renderForgot]) {
      const page = render(pageContext, { ...fresh, continuation })
      t.match(page, '<input type="hidden" name="request" value="a+b/c=">')
      const links = [...page.matchAll(/href="(\/(?:sign|forgot)[^"]*)"/g)].map(([, href = '']) => href)
      t.ok(links.length >= 2)
      for (const link of links) t.match(link, /\?request=a%2Bb%2Fc%3D(&amp;lang=de)?$/)
    }
    t.match(renderSignIn(pageContext, { ...fresh, continuation }), 'to continue to <strong>Orders</strong>')
  })

  t.test('cannot add markup to a page', async t => {
    const typed = { identifier: hostile.loginHint ?? '', email: '<script>', name: '"onfocus="' }
    const view = {
      language: 'en' as const,
      isUnverified: true,
      redirectHost: '<i>',
      scopes: ['<u>', 'toString', '__proto__'],
      account: '<b>'
    }
    const pages = [
      ...[renderSignIn, renderSignUp, renderForgot].map(render =>
        render(pageContext, { ...fresh, continuation: hostile, typed })),
      renderConsent(pageContext, { ...view, continuation: hostile }),
      renderRedirectPage(
        pageContext, { language: 'en', url: 'https://a.example/"><b>', name: hostile.clientName }
      )
    ]
    for (const page of pages) t.notMatch(page, /<(img|b>|i>|u>|script>)|"onfocus/)
    t.match(pages[3], /<code>toString<\/code>[^]*<code>__proto__<\/code>/)
  })
})

t.test('the consent page gives both answers equal weight, and says if the name is not checked', async t => {
  const view = {
    language: 'en' as const,
    continuation: { sealed: 's', clientName: 'Orders' },
    isUnverified: true,
    redirectHost: 'orders.example.com',
    scopes: ['openid', 'orders:read'],
    account: 'ada@example.com'
  }
  const page = renderConsent(pageContext, view)
  t.match(page, /has not checked its name[^]*orders\.example\.com[^]*<code>orders:read<\/code>/)
  const buttons = [...page.matchAll(/<button class="([^"]*)" name="decision" value="(\w+)">/g)]
  t.strictSame(buttons.map(([, look, value]) => [look, value]), [
    ['button plain', 'cancel'], ['button plain', 'allow']
  ])
  t.notMatch(renderConsent(pageContext, { ...view, isUnverified: false }), 'has not checked')
})

t.test('the page that leaves for a client moves on by itself, and has a link', async t => {
  const url = 'https://orders.example.com/cb?code=a&state="b"'
  const page = renderRedirectPage(pageContext, { language: 'en', url, name: 'Orders' })
  const escaped = 'https://orders.example.com/cb?code=a&amp;state=&quot;b&quot;'
  t.match(page, `<meta http-equiv="refresh" content="0;url=${escaped}">`)
  t.match(page, `href="${escaped}">Continue to Orders</a>`)
})
