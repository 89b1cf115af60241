import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { enqueueMail, languages, mailKinds, type Mail } from '../../src/mail/outbox.ts'
import { run } from '../support/command-line.ts'
import { build, type Service } from '../support/app.ts'
import { smtpServer } from '../support/smtp.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'

const linked = ['email_verification', 'email_change', 'email_changed', 'password_reset', 'invitation', 'magic_link']
const token = `lkl_${'a'.repeat(43)}`
const post = async ({ app }: Service, mail: Mail) => {
  await enqueueMail(app.db, app.mailer.sealMail(mail), undefined)
  app.jobs.wake('mail')
}
const entities: Record<string, string> = { '&amp;': '&', '&lt;': '<', '&gt;': '>', '&quot;': '"', '&#39;': "'", '&#x2F;': '/', '&#x3D;': '=' }
const decoded = (html: string) => html.replaceAll(/&[#\w]+;/g, entity => entities[entity] ?? entity)
const hrefs = (html: string) => [...html.matchAll(/href="([^"]*)"/g)].map(([, href = '']) => decoded(href))

t.test('the templates', async t => {
  const smtp = await smtpServer(t)
  const where = { SMTP_URL: smtp.url, MAIL_FROM: 'login@example.com', LINKS_URL: 'https://www.example.com/account' }
  const facts = { ip: '192.0.2.7', browser: 'Firefox 140', system: 'Windows 11', email: 'new@example.org' }

  t.test('say the same of each kind in both languages, as text and as HTML', async t => {
    const service = await build(t, { ...where, SERVICE_NAME: 'Orders' })
    const subjects = new Set<string>()
    for (const language of languages) {
      for (const kind of mailKinds) {
        const to = `${kind}.${language}@example.com`
        await post(service, { kind, language, to, facts, ...linked.includes(kind) && { token, lives: 1_800 } })
        const { subject, text, html, link } = await smtp.mailTo(to)
        subjects.add(subject)
        t.match(subject, /Orders/)
        t.notMatch(subject + text + html, /undefined|\{\{|\}\}|NaN/)
        t.ok(html.includes(`<html lang="${language}">`))
        t.equal(link !== undefined, linked.includes(kind), `${kind} has a link where it should`)
        t.match(link ?? 'https://www.example.com/account/', /^https:\/\/www\.example\.com\/account\/(email-verification|password-reset|magic-link|)/)
        t.strictSame(hrefs(html), link === undefined ? [] : [link])
        if (link) t.match(text, language === 'de' ? /30 Minuten/ : /30 minutes/)
        t.notMatch(html, /<(img|script|link|iframe)|https?:\/\/(?!www\.example\.com|localhost)|url\(|@import/)
        const words = (text: string) => decoded(text).replaceAll(/<style>[^]*<\/style>|<title>.*<\/title>|<h1>.*<\/h1>|<a class="button"[^>]*>[^<]*<\/a>|<[^>]*>/g, ' ').replaceAll(/\s+/g, ' ').trim()
        t.equal(words(html), words(text.replace(link ?? '', '').replace(/^-- $/m, '')), `${kind} says the same in ${language}`)
      }
    }
    t.equal(subjects.size, languages.length * mailKinds.length)
  })

  t.test('tell when, from where and with what something happened, as far as that is known', async t => {
    const service = await build(t, where)
    await post(service, { kind: 'new_sign_in', to: 'known@example.com', facts })
    await post(service, { kind: 'new_sign_in', language: 'de', to: 'unknown@example.com' })
    t.match((await smtp.mailTo('known@example.com')).text, /When: \w+ \d+, \d{4} at \d+:\d\d\s[AP]M UTC\nAddress: 192\.0\.2\.7\nDevice: Firefox 140 on Windows 11\n/)
    const { text } = await smtp.mailTo('unknown@example.com')
    t.match(text, /Wann: \d+\. \S+ \d{4} um \d\d:\d\d UTC\n\n/)
    t.notMatch(text, /Adresse:|Gerät:/)
  })

  t.test('let nobody who is named in a mail write HTML, a header or a link into it', async t => {
    const service = await build(t, { ...where, SERVICE_NAME: '<b>A</b> & "B" {{link}}' })
    const hostile = ['http://evil.test', '<img src=x onerror=1>', 'evil.test', 'x\r\nBcc: eve@evil.test', '{{link}}', 'a'.repeat(300), 'call 0900 1 2 3 4 5 now or lose it all']
    for (const [index, word] of hostile.entries()) {
      const to = `victim'+${index}&x=\`y\`@example.com`
      await post(service, { kind: 'new_sign_in', to, facts: { ip: '192.0.2.7', browser: word, system: word, email: to } })
      const { raw, text, html, headers, subject } = await smtp.mailTo(to)
      t.equal(subject, 'New sign-in to <b>A</b> & "B" {{link}}')
      t.notMatch(text + html, /evil|onerror|aaaa|0900|Device/)
      t.notMatch(html, '<b>')
      t.strictSame(hrefs(html), [])
      t.notOk('bcc' in headers)
      t.notMatch(raw, /^Bcc/mi)
    }
    await post(service, { kind: 'email_changed', to: 'old@example.com', token, lives: 60, facts: { email: '"><a/href=\'x\'>@example.com' } })
    const { html, link } = await smtp.mailTo('old@example.com')
    t.strictSame(hrefs(html), [link])
    t.ok(html.includes('&quot;&gt;&lt;a&#x2F;href&#x3D;&#39;x&#39;&gt;@example.com'))
  })

  t.test('are replaced by those of a folder, where it has them', async t => {
    const own = temporaryFolder(t)
    mkdirSync(join(own, 'de'))
    mkdirSync(join(own, '..data'))
    writeFileSync(join(own, '..data/x.html'), '{{no}}')
    writeFileSync(join(own, 'layout.html'), '<article>{{> content}}</article>')
    writeFileSync(join(own, 'de/magic_link.txt'), 'Subject: Servus!\r\n\r\n{{link}}\r\nbis gleich\r\n')
    writeFileSync(join(own, 'de/magic_link.html'), '<a href="{{link}}">los</a>')
    const service = await build(t, { ...where, MAIL_TEMPLATES: own })
    await post(service, { kind: 'magic_link', language: 'de', to: 'bayer@example.com', token, lives: 600 })
    await post(service, { kind: 'magic_link', language: 'en', to: 'brit@example.com', token, lives: 600 })
    const { subject, text, html, link = '' } = await smtp.mailTo('bayer@example.com')
    t.match([subject, text.trim(), html.trim()], ['Servus!', `${link}\nbis gleich`, /^<article><a href="[^"]*">los<\/a><\/article>$/])
    t.match(await smtp.mailTo('brit@example.com'), { subject: 'Sign in to Latchkey', html: /^<article><p>Hello/ })
  })

  t.test('that cannot be used end the start, with the name of each', async t => {
    const own = temporaryFolder(t)
    mkdirSync(join(own, 'en'))
    const bad: Record<string, [text: string, told: RegExp]> = {
      'layout.html': ['<main></main>', /layout\.html that lacks \{\{> content\}\}/],
      'en/magic_link.txt': ['Subject: Hello\n\n{{lnik}}', /magic_link\.txt that has an unknown lnik: there are service, .*link, lives/],
      'en/magic_link.html': ['{{#link}}', /magic_link\.html that cannot be read: Unclosed section/],
      'en/password_reset.txt': ['Hello {{link}}', /password_reset\.txt that does not begin with a line "Subject: …"/],
      'en/password_reset.html': ['<p>soon</p>', /password_reset\.html that lacks \{\{link\}\}/],
      'en/new_sign_in.html': ['{{{email}}}', /new_sign_in\.html that must not have email unescaped/],
      'en/password_changed.txt': ['Subject: x\n{{link}}', /password_changed\.txt that has an unknown link/],
      'en/pasword_reset.txt': ['Subject: x', /has en\/pasword_reset\.txt, which is no template/]
    }
    for (const [name, [text]] of Object.entries(bad)) writeFileSync(join(own, name), text)
    const { code, stderr } = await run(t, ['config', 'check'], { MAIL_TEMPLATES: own })
    t.equal(code, 78)
    for (const [, told] of Object.values(bad)) t.match(stderr, told)
    await t.rejects(build(t, { MAIL_TEMPLATES: join(own, 'none') }), { name: 'ConfigError', message: /MAIL_TEMPLATES cannot be read: ENOENT/ })
    t.match(await run(t, ['serve'], { MAIL_TEMPLATES: own, DATABASE_URL: 'postgres://127.0.0.1:1/none' }), { code: 78, stderr: /pasword_reset/ })
  })
})
