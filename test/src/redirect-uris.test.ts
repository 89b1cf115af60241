import {
  matchPostLogoutRedirectUri, matchRedirectUri, redirectUriRefusal, type RedirectUriRules
} from '../../src/clients/redirect-uris.ts'
import { t } from '../support/test.ts'

const web: RedirectUriRules = { applicationType: 'web', isDevelopment: false, redirectSchemes: [] }
const webInDevelopment: RedirectUriRules = { ...web, isDevelopment: true }
const native: RedirectUriRules = { ...web, applicationType: 'native' }
const everyKind: Array<[string, RedirectUriRules]> = [
  ['web', web], ['web in development', webInDevelopment], ['native', native],
  ['native with schemes', { ...native, isDevelopment: true, redirectSchemes: ['myapp'] }]
]

t.test('https URIs can be registered by clients of every kind', async t => {
  for (const uri of [
    'https://app.example.com', 'https://app.example.com/', 'https://app.example.com/callback?next=/a%2Fb&x=y',
    'https://app.example.com:8443/cb', 'https://app.example.com:443/cb', 'https://xn--bcher-kva.example/cb',
    'https://app.example.com/a@b', 'https://app.example.com?x=https://evil.example/', 'https://localhost/cb',
    'https://192.0.2.1/cb', 'https://[2001:db8::1]:8443/cb', 'https://app.example.com/%23/cb',
    `https://app.example.com/${'x'.repeat(2_048 - 'https://app.example.com/'.length)}`
  ]) {
    for (const [kind, rules] of everyKind) {
      t.equal(redirectUriRefusal(uri, rules), undefined, `${kind}: ${uri}`)
    }
  }
})

t.test('hostile and ambiguous URIs can be registered by nobody', async t => {
  const hostile: Array<[detail: RegExp, uris: string[]]> = [
    [/fragment/, ['https://a.example/#', 'https://a.example/cb#x', 'com.example.app:/cb#', '#']],
    [/wildcard/, [
      'https://*.example.com/cb', 'https://a.example/*', 'http://127.0.0.1:*/cb', '*', 'com.example.*:/cb'
    ]],
    [/user or a password/, [
      'https://user:password@a.example/', 'https://user@a.example/', 'https://@a.example/',
      'http://localhost@evil.com', 'http://127.0.0.1:80@evil.com/cb', 'https://a.example:443@evil.com/',
      'https://a%40b@evil.com/', 'https://a.example%2f@evil.com/'
    ]],
    [/characters of a URI/, [
      'https://a.example/ cb', ' https://a.example/', 'https://a.example/\n', 'https://a.example/\r\nx',
      'https://a.example/\tcb', 'https://a.example/\0', 'https://a.example/\u007f',
      'https://a.example\\@evil.com/',
      'https:\\\\a.example/', 'https://a.example/\\cb', 'java\nscript:alert(1)', 'https://bücher.example/',
      'https://аpple.example/', 'https://a。example/', 'http://①②⑦.0.0.1/', 'https://ａ.example/',
      'https://a.example/é', 'https://a.example/"x', 'https://a.example/<x>', 'https://a.example/`',
      'https://{a}/',
      'https://a.example/|', 'https://a.example/^', 'https://a\u200b.example/', 'https://a\u00ad.example/',
      'https://a.example/\ud800'
    ]],
    [/hexadecimal/, ['https://a.example/%', 'https://a.example/%2', 'https://a.example/%zz', '%']],
    [/absolute URI/, [
      '', '/callback', '//a.example/cb', 'a.example/cb', '?x', './cb', 'localhost/cb', '://a.example', '1a:/b'
    ]],
    [/must not have the scheme/, [
      'javascript:alert(1)', 'JavaScript:alert(1)', 'javascript://a.example/%0aalert(1)', 'data:text/html,x',
      'DATA:text/html,x', 'vbscript:x', 'file:///etc/passwd', 'File:/x', 'blob:https://a.example/1',
      'about:blank'
    ]],
    [/lower case/, ['HTTPS://a.example/', 'Https://a.example/', 'HTTP://localhost/', 'Com.Example.App:/cb']],
    [/host after its scheme/, [
      'https:', 'https:a.example', 'https:/a.example/', 'https:///a.example', 'https://', 'https://?a',
      'http:///'
    ]],
    [/valid host and port/, [
      'https://a.example:/cb', 'https://a.example:99999/', 'https://a.example:x/',
      'https://a.example:443:443/',
      'https://a%2fb.example/', 'https://a%00.example/', 'https://[::1/', 'https://[::g]/', 'https://[/',
      'https://1.2.3.4.5.6.7.8.256/', 'https://xn--a/', 'https://www.xn--a/', 'https://xn--a-/'
    ]],
    [/host written as/, [
      'https://A.example/', 'https://a%2eexample/', 'https://127.1/', 'http://2130706433/',
      'http://0x7f.1/cb',
      'http://0177.0.0.1/', 'http://[0:0:0:0:0:0:0:1]/cb', 'http://LOCALHOST/', 'http://%6cocalhost/'
    ]],
    [/dot at the end/, ['https://a.example./cb', 'https://localhost./cb', 'http://localhost./cb']],
    [/only localhost/, [
      'http://a.example/cb', 'http://127.0.0.1.evil.com/', 'http://localhost.evil.com/',
      'http://evil-localhost/',
      'http://a.localhost/', 'http://127.0.0.2/', 'http://0.0.0.0/', 'http://[::]/', 'http://192.168.1.1/'
    ]],
    [/must have at most/, [`https://a.example/${'x'.repeat(2_048)}`, 'x'.repeat(100_000)]]
  ]
  for (const [detail, uris] of hostile) {
    for (const uri of uris) {
      for (const [kind, rules] of everyKind) {
        t.match(redirectUriRefusal(uri, rules), detail, `${kind}: ${JSON.stringify(uri.slice(0, 80))}`)
      }
    }
  }
})

t.test('http on this machine is for native clients, and for web clients in development', async t => {
  for (const uri of [
    'http://localhost/cb', 'http://localhost:8080', 'http://127.0.0.1:3000/cb?x', 'http://[::1]:5173/cb'
  ]) {
    t.equal(redirectUriRefusal(uri, native), undefined, uri)
    t.equal(redirectUriRefusal(uri, webInDevelopment), undefined, uri)
    t.match(redirectUriRefusal(uri, web), /in production/, uri)
  }
})

t.test('private-use schemes are for native clients, and need a dot or a permission', async t => {
  for (const uri of [
    'com.example:/x', 'com.example.app:/callback', 'com.example.app://callback', 'com.example.app:/cb?x=1',
    'com.example-app.x2:/'
  ]) {
    t.equal(redirectUriRefusal(uri, native), undefined, uri)
    t.match(redirectUriRefusal(uri, webInDevelopment), /only native clients/, uri)
  }
  for (const uri of ['myapp:/callback', 'myapp://callback']) {
    t.match(redirectUriRefusal(uri, native), /reverse order/, uri)
    t.equal(redirectUriRefusal(uri, { ...native, redirectSchemes: ['myapp'] }), undefined, uri)
    t.match(redirectUriRefusal(uri, { ...web, redirectSchemes: ['myapp'] }), /only native clients/, uri)
  }
  for (const uri of [
    'urn:ietf:wg:oauth:2.0:oob', 'mailto:a', 'ftp://a.example/', 'ws://localhost/',
    'view-source:https://a.example/',
    'intent://x', 'tel:1', 'com.:/x', 'com..example:/x', 'myapp2:/x'
  ]) {
    t.match(redirectUriRefusal(uri, { ...native, redirectSchemes: ['myapp'] }), /reverse order/, uri)
  }
  for (const uri of ['com.example.app:', 'com.example.app:callback', 'app.example.com:8443/cb', 'a.b:?x']) {
    t.match(redirectUriRefusal(uri, native), /path after its scheme/, uri)
  }
  for (const uri of ['com.example.app://user@callback', 'com.example.app://@/']) {
    t.match(redirectUriRefusal(uri, native), /user or a password/, uri)
  }
})

const clientWith = (type: 'web' | 'native', ...uris: string[]) =>
  ({ application_type: type, redirect_uris: uris, post_logout_redirect_uris: uris })

/** Whether both kinds of URIs match. They have the same rule. */
function isMatch (client: ReturnType<typeof clientWith>, presented: string): boolean {
  const isRedirect = matchRedirectUri(client, presented)
  if (isRedirect !== matchPostLogoutRedirectUri(client, presented)) throw new Error(presented)
  return isRedirect
}

t.test('a presented URI must be a registered one, byte for byte', async t => {
  const uris = ['https://a.example/cb?x=%2F', 'https://b.example', 'com.example.app:/cb']
  for (const type of ['web', 'native'] as const) {
    const client = clientWith(type, ...uris)
    for (const uri of uris) t.ok(isMatch(client, uri), uri)
    for (const uri of [
      '', 'https://a.example/cb', 'https://a.example/cb?x=%2f', 'https://a.example/cb?x=/',
      'https://A.example/cb?x=%2F',
      'HTTPS://a.example/cb?x=%2F', 'https://a.example:443/cb?x=%2F', 'https://a.example/cb?x=%2F&y',
      'https://a.example/cb?x=%2F#', 'https://a.example/./cb?x=%2F', 'https://a.example//cb?x=%2F',
      ' https://a.example/cb?x=%2F', 'https://a.example/cb?x=%2F ', 'https://a.example/cb?x=%2F\n',
      'https://a.example/cb?x=%2F\0', 'https://user@a.example/cb?x=%2F', 'http://a.example/cb?x=%2F',
      'https://a.example.evil.com/cb?x=%2F', 'https://b.example/', 'https://b.example.',
      'https://b.example:443',
      'com.example.app:/CB', 'com.example.app://cb', 'COM.example.app:/cb', 'com.example.app:8080/cb'
    ]) {
      t.notOk(isMatch(client, uri), `${type}: ${JSON.stringify(uri)}`)
    }
  }
  t.notOk(isMatch(clientWith('native'), 'http://127.0.0.1/'), 'none is assumed')
})

t.test('only the port of a loopback URI of a native client may differ', async t => {
  for (const host of ['localhost', '127.0.0.1', '[::1]']) {
    const uri = `http://${host}/cb?x`
    const client = clientWith('native', uri, `http://${host}:1000/other`)
    for (const port of ['', ':1', ':80', ':8080', ':65535']) {
      t.ok(isMatch(client, `http://${host}${port}/cb?x`), `${host}${port}`)
      t.ok(isMatch(client, `http://${host}${port}/other`), `${host}${port}`)
      const webClient = clientWith('web', uri)
      t.equal(isMatch(webClient, `http://${host}${port}/cb?x`), port === '', `web: ${host}${port}`)
    }
    for (const other of ['localhost', '127.0.0.1', '[::1]'].filter(each => each !== host)) {
      t.notOk(isMatch(client, `http://${other}:8080/cb?x`), `${other} is not ${host}`)
    }
    for (const presented of [
      `http://${host}:/cb?x`, `http://${host}:0/cb?x`, `http://${host}:080/cb?x`, `http://${host}:65536/cb?x`,
      `http://${host}:100000/cb?x`, `http://${host}:8080/cb`, `http://${host}:8080/cb?x=1`,
      `http://${host}:8080/CB?x`,
      `http://${host}:8080/cb?x#`, `http://${host}:8080/cb?x\n`, `http://${host}:8080`,
      `https://${host}:8080/cb?x`,
      `http://${host}:8080@evil.com/cb?x`, `http://${host}.evil.com/cb?x`, `http://${host}.:80/cb?x`,
      `http://${host}:8080.evil.com/cb?x`, `http://user@${host}:8080/cb?x`,
      `http://${host}:8080\\@evil.com/cb?x`,
      `http://${host}:8080//cb?x`, `HTTP://${host}:8080/cb?x`, `http://${host}:-1/cb?x`,
      `http://${host}:８０/cb?x`,
      `http://${host}: 80/cb?x`, `http://${host}:80:80/cb?x`, 'http://127.1:8080/cb?x',
      'http://LOCALHOST:80/cb?x'
    ]) {
      t.notOk(isMatch(client, presented), JSON.stringify(presented))
    }
  }
  const others = clientWith('native', 'http://127.0.0.2/cb', 'https://localhost/cb', 'https://a.example/cb')
  for (const uri of ['http://127.0.0.2:80/cb', 'https://localhost:80/cb', 'https://a.example:8443/cb']) {
    t.notOk(isMatch(others, uri), uri)
  }
})
