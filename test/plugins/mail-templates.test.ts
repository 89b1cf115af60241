import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { languages } from '../../src/http/language.ts'
import { mailKinds } from '../../src/capabilities.ts'
import { enqueueMail, type Mail } from '../../src/mail/outbox.ts'
import { run } from '../support/command-line.ts'
import { build, newUser, type Service } from '../support/app.ts'
import { smtpServer } from '../support/smtp.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'
import { t } from '../support/test.ts'

const kindsWithLink = [
  'email_verification', 'email_change', 'email_changed', 'password_reset', 'invitation', 'magic_link'
]
/** The pages that mails without a token lead to. */
const actions: Record<string, string> = {
  email_change_requested: 'forgot',
  registration_taken: 'sign-in',
  password_changed: 'forgot',
  new_sign_in: 'forgot',
  session_replayed: 'forgot'
}
const withoutAction = 'account_deleted'
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
        const path = actions[kind]
        const action = link ?? (path === undefined ? undefined : `http://localhost:3000/${path}`)
        t.equal(action === undefined, kind === withoutAction)
        t.strictSame(hrefs(html), action === undefined ? [] : [action])
        t.equal(text.split('\n').includes(action ?? ''), true, 'the link has a line of its own')
        t.equal(
          decodeEntities(html).includes(`<span style="word-break:break-all">${action}</span>`),
          action !== undefined, 'the link is also written out'
        )
        if (link) t.match(text, language === 'de' ? /30 Minuten/ : /30 minutes/)
        t.notMatch(html, /<(img|script|link|iframe)|https?:\/\/(?!www\.example\.com|localhost)|url\(|@import/)
        const wordsOf = (text: string) =>
          decodeEntities(text)
            .replaceAll(/<style>[^]*<\/style>|<title>.*<\/title>|<h1 [^]*?<\/h1>/g, ' ')
            .replaceAll(/<p class="(name|quiet link)"[^]*?<\/p>/g, ' ')
            .replaceAll(/<table [^>]*class="action"[^]*?<\/table>|<[^>]*>/g, ' ')
            .replaceAll(/\s+/g, ' ')
            .trim()
        t.equal(
          wordsOf(html),
          wordsOf(text.replace(action ?? '', '').replace(/^-- $/m, '')),
          `${kind} says the same in ${language}`
        )
      }
    }
    t.equal(subjects.size, languages.length * mailKinds.size)
  })

  t.test('of a link that was requested say from which browser and address', async t => {
    const service = await build(t, options)
    const userAgent = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0'
    const { email, password } = newUser()
    const registered = await service.browser().post('/v1/auth/register', { email, password }, {
      'user-agent': userAgent
    })
    t.equal(registered.status, 201)
    await smtp.mailTo(email)
    for (const [language, sentence, agent] of [
      ['en', 'Requested from Firefox 140 on Linux, IP address 127.0.0.1.', userAgent],
      ['de', 'Angefordert mit Firefox 140 unter Linux, IP-Adresse 127.0.0.1.', userAgent],
      ['en', 'Requested from IP address 127.0.0.1.', '<b>evil.test</b>'],
      ['de', 'Angefordert von der IP-Adresse 127.0.0.1.', '']
    ] as const) {
      for (const kind of ['magic-link', 'password-reset', 'email-verification']) {
        const headers = { 'user-agent': agent, 'accept-language': language }
        await service.sql('delete from mail_buckets')
        await service.browser().post(`/v1/auth/${kind}`, { email }, headers)
        const { text, html, link } = await smtp.mailTo(email)
        t.match(link, `/${kind}#token=`)
        t.match(text, sentence)
        t.match(html, sentence)
        t.notMatch(text + html, /evil/)
      }
    }
  })

  t.test('have the brand: its name, its colour, its logo over https, and a link for help', async t => {
    const logo = join(temporaryFolder(t), 'logo')
    const brand = {
      BRAND_NAME: 'Acme <b>',
      BRAND_COLOR: '#ffd400',
      SUPPORT_URL: 'https://www.example.com/help?a=1&b=2',
      BRAND_LOGO: logo
    }
    const png = Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex')
    const svg = Buffer.from('<svg/>')
    for (const [index, [issuer, content, isShown]] of ([
      ['https://auth.example.com/sso', png, true], ['http://localhost:3000', png, false],
      ['https://auth.example.com', svg, false]
    ] as const).entries()) {
      writeFileSync(logo, content)
      const service = await build(t, { ...options, ...brand, ISSUER_URL: issuer })
      const to = `brand-${index}@example.com`
      await enqueue(service, { kind: 'magic_link', language: 'de', to, token, lives: 60 })
      const { subject, text, html, link } = await smtp.mailTo(to)
      t.equal(subject, 'Anmeldung bei Acme <b>')
      t.strictSame(hrefs(html), [link, brand.SUPPORT_URL])
      t.ok(text.trimEnd().endsWith(`\n-- \nAcme <b>, ${issuer}\nHilfe: ${brand.SUPPORT_URL}`))
      t.match(html, /bgcolor="#ffd400"[^]*color:#000000/)
      t.notMatch(html, '<b>')
      const images = [
        ...html.matchAll(/<img src="([^"]*)" alt=""/g)
      ].map(([, source = '']) => decodeEntities(source))
      t.match(images, isShown ? [/^https:\/\/auth\.example\.com\/sso\/assets\/logo\?v=[\w-]{16}$/] : [])
      t.equal(images.length, isShown ? 1 : 0)
    }
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
      t.strictSame(hrefs(html), ['http://localhost:3000/forgot'])
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
      html: /^<article><p>This link signs you in/
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
      'en/account_deleted.html': ['{{#button}}x{{/button}}', /account_deleted\.html uses an unknown button/],
      'en/email_change.txt': ['Subject: x\n{{link}}{{#note}}x{{/note}}', /change\.txt uses an unknown note/],
      'en/email_change.html': ['{{link}}{{note}}', /email_change\.html uses an unknown note/],
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
