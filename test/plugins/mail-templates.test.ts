import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { languages } from '../../src/http/language.ts'
import { mailKinds } from '../../src/capabilities.ts'
import { enqueueMail, type Mail } from '../../src/mail/outbox.ts'
import { run } from '../support/command-line.ts'
import { build, type Service } from '../support/app.ts'
import { smtpServer } from '../support/smtp.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'

const kindsWithLink = [
  'email_verification', 'email_change', 'email_changed', 'password_reset', 'invitation', 'magic_link'
]
const token = `lkl_${'a'.repeat(43)}`
const enqueue = async ({ app }: Service, mail: Mail) => {
  await enqueueMail(app.db, app.mailer.sealMail(mail), undefined)
}
const entities: Record<string, string> = {
  '&amp;': '&',
  '&lt;': '<',
  '&gt;': '>',
  '&quot;': '"',
  '&#39;': "'",
  '&#x2F;': '/',
  '&#x3D;': '='
}
const decodeEntities = (html: string) => html.replaceAll(/&[#\w]+;/g, entity => entities[entity] ?? entity)
const hrefs = (html: string) =>
  [...html.matchAll(/href="([^"]*)"/g)].map(([, href = '']) => decodeEntities(href))

t.test('the templates', async t => {
  const smtp = await smtpServer(t)
  const options = {
    SMTP_URL: smtp.url,
    MAIL_FROM: 'login@example.com',
    LINKS_URL: 'https://www.example.com/account'
  }
  const facts = { ip: '192.0.2.7', browser: 'Firefox 140', system: 'Windows 11', email: 'new@example.org' }

  t.test('exist for each kind in both languages, and say the same as text and as HTML', async t => {
    const service = await build(t, { ...options, SERVICE_NAME: 'Orders' })
    const subjects = new Set<string>()
    for (const language of languages) {
      for (const kind of mailKinds.keys()) {
        const to = `${kind}.${language}@example.com`
        await enqueue(service, {
          kind,
          language,
          to,
          facts,
          ...(kindsWithLink.includes(kind) && { token, lives: 1_800 })
        })
        const { subject, text, html, link } = await smtp.mailTo(to)
        subjects.add(subject)
        t.match(subject, /Orders/)
        t.notMatch(subject + text + html, /undefined|\{\{|\}\}|NaN/)
        t.ok(html.includes(`<html lang="${language}">`))
        t.equal(link !== undefined, kindsWithLink.includes(kind), `${kind} has a link only if it should`)
        t.match(
          link ?? 'https://www.example.com/account/',
          /^https:\/\/www\.example\.com\/account\/(email-verification|password-reset|magic-link|)/
        )
        t.strictSame(hrefs(html), link === undefined ? [] : [link])
        if (link) t.match(text, language === 'de' ? /30 Minuten/ : /30 minutes/)
        t.notMatch(html, /<(img|script|link|iframe)|https?:\/\/(?!www\.example\.com|localhost)|url\(|@import/)
        const wordsOf = (text: string) =>
          decodeEntities(text)
            .replaceAll(/<style>[^]*<\/style>|<title>.*<\/title>|<h1>.*<\/h1>/g, ' ')
            .replaceAll(/<a class="button"[^>]*>[^<]*<\/a>|<[^>]*>/g, ' ')
            .replaceAll(/\s+/g, ' ')
            .trim()
        t.equal(
          wordsOf(html),
          wordsOf(text.replace(link ?? '', '').replace(/^-- $/m, '')),
          `${kind} says the same in ${language}`
        )
      }
    }
    t.equal(subjects.size, languages.length * mailKinds.size)
  })

  t.test('state the time, the IP address and the device, as far as they are known', async t => {
    const service = await build(t, options)
    await enqueue(service, { kind: 'new_sign_in', to: 'known@example.com', facts })
    await enqueue(service, { kind: 'new_sign_in', language: 'de', to: 'unknown@example.com' })
    const { text: knownText } = await smtp.mailTo('known@example.com')
    t.match(knownText, /Time: \w+ \d+, \d{4} at \d+:\d\d\s[AP]M UTC\nIP address: 192\.0\.2\.7\n/)
    t.match(knownText, /\.7\nDevice: Firefox 140 on Windows 11\n/)
    const { text } = await smtp.mailTo('unknown@example.com')
    t.match(text, /Zeitpunkt: \d+\. \S+ \d{4} um \d\d:\d\d UTC\n\n/)
    t.notMatch(text, /Adresse:|Gerät:/)
  })

  t.test('let no value add HTML, a header or a link to a mail', async t => {
    const service = await build(t, { ...options, SERVICE_NAME: '<b>A</b> & "B" {{link}}' })
    const hostileNames = [
      'http://evil.test', '<img src=x onerror=1>', 'evil.test', 'x\r\nBcc: eve@evil.test', '{{link}}',
      'a'.repeat(300),
      'call 0900 1 2 3 4 5 now or lose it all'
    ]
    for (const [index, name] of hostileNames.entries()) {
      const to = `victim'+${index}&x=\`y\`@example.com`
      await enqueue(service, {
        kind: 'new_sign_in',
        to,
        facts: { ip: '192.0.2.7', browser: name, system: name, email: to }
      })
      const { raw, text, html, headers, subject } = await smtp.mailTo(to)
      t.equal(subject, 'New sign-in to <b>A</b> & "B" {{link}}')
      t.notMatch(text + html, /evil|onerror|aaaa|0900|Device/)
      t.notMatch(html, '<b>')
      t.strictSame(hrefs(html), [])
      t.notOk('bcc' in headers)
      t.notMatch(raw, /^Bcc/mi)
    }
    await enqueue(service, {
      kind: 'email_changed',
      to: 'old@example.com',
      token,
      lives: 60,
      facts: { email: "\"><a/href='x'>@example.com" }
    })
    const { html, link } = await smtp.mailTo('old@example.com')
    t.strictSame(hrefs(html), [link])
    t.ok(html.includes('&quot;&gt;&lt;a&#x2F;href&#x3D;&#39;x&#39;&gt;@example.com'))
  })

  t.test('are replaced by those that the configured folder has', async t => {
    const custom = temporaryFolder(t)
    mkdirSync(join(custom, 'de'))
    mkdirSync(join(custom, '..data'))
    writeFileSync(join(custom, '..data/x.html'), '{{no}}')
    writeFileSync(join(custom, 'layout.html'), '<article>{{> content}}</article>')
    writeFileSync(join(custom, 'de/magic_link.txt'), 'Subject: Servus!\r\n\r\n{{link}}\r\nbis gleich\r\n')
    writeFileSync(join(custom, 'de/magic_link.html'), '<a href="{{link}}">los</a>')
    const service = await build(t, { ...options, MAIL_TEMPLATES: custom })
    await enqueue(service, { kind: 'magic_link', language: 'de', to: 'bayer@example.com', token, lives: 600 })
    await enqueue(service, { kind: 'magic_link', language: 'en', to: 'brit@example.com', token, lives: 600 })
    const { subject, text, html, link = '' } = await smtp.mailTo('bayer@example.com')
    t.match(
      [subject, text.trim(), html.trim()],
      ['Servus!', `${link}\nbis gleich`, /^<article><a href="[^"]*">los<\/a><\/article>$/]
    )
    t.match(await smtp.mailTo('brit@example.com'), {
      subject: 'Sign in to Latchkey',
      html: /^<article><p>Hello/
    })
  })

  t.test('that are not valid stop the start, with the name of each', async t => {
    const custom = temporaryFolder(t)
    mkdirSync(join(custom, 'en'))
    const invalid: Record<string, [text: string, message: RegExp]> = {
      'layout.html': ['<main></main>', /layout\.html lacks \{\{> content\}\}/],
      'en/magic_link.txt': [
        'Subject: Hello\n\n{{lnik}}',
        /magic_link\.txt uses an unknown lnik; known are service, .*link, lives/
      ],
      'en/magic_link.html': ['{{#link}}', /magic_link\.html cannot be parsed: Unclosed section/],
      'en/password_reset.txt': [
        'Hello {{link}}',
        /password_reset\.txt does not begin with a line "Subject: …"/
      ],
      'en/password_reset.html': ['<p>soon</p>', /password_reset\.html lacks \{\{link\}\}/],
      'en/new_sign_in.html': ['{{{email}}}', /new_sign_in\.html must not use email without escaping/],
      'en/password_changed.txt': ['Subject: x\n{{link}}', /password_changed\.txt uses an unknown link/],
      'en/pasword_reset.txt': ['Subject: x', /: en\/pasword_reset\.txt is not a template/]
    }
    for (const [name, [text]] of Object.entries(invalid)) writeFileSync(join(custom, name), text)
    const { code, stderr } = await run(t, ['config', 'check'], { MAIL_TEMPLATES: custom })
    t.equal(code, 78)
    for (const [, message] of Object.values(invalid)) t.match(stderr, message)
    await t.rejects(build(t, { MAIL_TEMPLATES: join(custom, 'none') }), {
      name: 'ConfigError',
      message: /MAIL_TEMPLATES cannot be read: ENOENT/
    })
    t.match(
      await run(t, ['serve'], { MAIL_TEMPLATES: custom, DATABASE_URL: 'postgres://127.0.0.1:1/none' }),
      { code: 78, stderr: /pasword_reset/ }
    )
  })
})
