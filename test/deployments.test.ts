import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { request } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import type { Test } from 'tap'
import { parseAllDocuments } from 'yaml'
import { ConfigError, exitCode } from '../src/config/config-error.ts'
import { load } from '../src/config/config.ts'
import { variables } from '../src/config/variables.ts'
import { freePort } from '../src/database/embedded/server.ts'
import { build, newUser, type Service } from './support/app.ts'
import { authority } from './support/certificates.ts'
import { caddy } from './support/gateways.ts'
import { skip as skipNginx, startServer } from './support/nginx.ts'
import { temporaryFolder } from './support/temporary-folder.ts'
import { t } from './support/test.ts'

const example = (name: string) => readFileSync(resolve('examples/deployment', name), 'utf8')
const key = randomBytes(32).toString('base64')

const environmentFile = () => Object.fromEntries(
  [...example('latchkey.env').matchAll(/^(\w+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value]))

/** The service with the trusted proxies of an example, listening. Returns its port. */
async function listen (t: Test, issuer: string, trustProxy: string) {
  const service = await build(t, { ISSUER_URL: issuer, TRUST_PROXY: trustProxy })
  await service.app.listen({ host: '127.0.0.1', port: 0 })
  return { service, port: (service.app.server.address() as AddressInfo).port }
}

const addressOfSession = async ({ sql }: Service, id: string) =>
  await sql<{ ip: string }>('select host(ip) as ip from sessions where id = $1', [id])

t.test('a virtual machine with Caddy', { skip: caddy.skip }, async t => {
  const [https, http] = [await freePort(), await freePort()]
  const issuer = `https://localhost:${https}`
  const { service, port } = await listen(t, issuer, environmentFile()['TRUST_PROXY'] ?? '')
  const folder = temporaryFolder(t)
  // Only the place, and a certificate authority of its own instead of a public one.
  const settings = `{
    admin off
    local_certs
    skip_install_trust
    https_port ${https}
    http_port ${http}
  }\n`
  const site = example('Caddyfile').replace('auth.example.com', 'localhost').replace(':3000', `:${port}`)
  writeFileSync(join(folder, 'Caddyfile'), settings + site)
  const log = openSync(join(folder, 'log'), 'a')
  const child = spawn('caddy', ['run', '--config', 'Caddyfile', '--adapter', 'caddyfile'], {
    cwd: folder,
    env: { PATH: process.env['PATH'], HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
    stdio: ['ignore', log, log]
  })
  closeSync(log)
  t.teardown(async () => {
    if (child.kill('SIGKILL')) await once(child, 'close')
  })

  /** Sends a request through Caddy. Returns undefined while Caddy does not answer. */
  async function send (method: string, path: string, body?: object) {
    const ca = readFileSync(join(folder, 'caddy/pki/authorities/local/root.crt'))
    const headers = body && { 'content-type': 'application/json' }
    const sent = request(issuer + path, { method, ca, headers, agent: false })
    sent.end(body && JSON.stringify(body))
    const [response] = await once(sent, 'response')
    const chunks = await response.toArray()
    return { status: response.statusCode, headers: response.headers, text: Buffer.concat(chunks).toString() }
  }
  while ((await send('GET', '/readyz').catch(() => undefined))?.status !== 200) {
    if (child.exitCode !== null) throw new Error(readFileSync(join(folder, 'log'), 'utf8'))
    await new Promise(resolve => setTimeout(resolve, 50))
  }

  const signedUp = await send('POST', '/v1/auth/register', newUser())
  t.equal(signedUp.status, 201)
  t.match(signedUp.headers['set-cookie']?.join(), /__Host-refresh_token=lkr_.*Secure/)
  t.strictSame(await addressOfSession(service, JSON.parse(signedUp.text).session_id), [{ ip: '127.0.0.1' }])
  const [redirect] = await once(get(`http://localhost:${http}/v1/me`), 'response')
  // Caddy names the public port.
  t.match(redirect, { statusCode: 308, headers: { location: 'https://localhost/v1/me' } })
  redirect.resume()
})

t.test('the unit of systemd', async t => {
  const unit = example('latchkey.service')
  t.match(unit, new RegExp(`^RestartPreventExitStatus=${exitCode(new ConfigError([]))}$`, 'm'))
  const [, program] = /^ExecStart=\/usr\/bin\/node (.*)$/m.exec(unit) ?? []
  t.equal(`node ${program}`, JSON.parse(readFileSync('package.json', 'utf8')).scripts.start)
  const given = { ...environmentFile(), KEY_ENCRYPTION_KEY: key }
  t.match(load(given), { production: true, issuer: 'https://auth.example.com' })
  for (const name of Object.keys(given)) t.ok(name in variables, name)
})

t.test('nginx with TLS', { skip: skipNginx }, async t => {
  const [https, http] = [await freePort(), await freePort()]
  const issuer = `https://localhost:${https}`
  const { service, port } = await listen(t, issuer, environmentFile()['TRUST_PROXY'] ?? '')
  const { file, issue } = authority(t)
  const { cert, key } = issue('DNS:localhost')
  const folder = temporaryFolder(t)
  writeFileSync(join(folder, 'cert.pem'), cert)
  writeFileSync(join(folder, 'key.pem'), key)
  const configuration = example('nginx.conf')
    .replaceAll('auth.example.com;', 'localhost;')
    .replace('127.0.0.1:3000', `127.0.0.1:${port}`)
    .replace('listen 80;', `listen 127.0.0.1:${http};`)
    .replace('listen 443 ssl;', `listen 127.0.0.1:${https} ssl;`)
    .replace('/etc/ssl/auth.example.com.pem', join(folder, 'cert.pem'))
    .replace('/etc/ssl/private/auth.example.com.key', join(folder, 'key.pem'))
  await startServer(t, { http: configuration, locations: '' })

  const headers = { 'content-type': 'application/json' }
  const sent = request(`https://127.0.0.1:${https}/v1/auth/register`, {
    method: 'POST', headers, servername: 'localhost', ca: readFileSync(file), agent: false
  }).end(JSON.stringify(newUser()))
  const [response] = await once(sent, 'response')
  const chunks = await response.toArray()
  t.equal(response.statusCode, 201)
  const { session_id: id } = JSON.parse(Buffer.concat(chunks).toString())
  t.strictSame(await addressOfSession(service, id), [{ ip: '127.0.0.1' }])
  const [redirect] = await once(get(`http://127.0.0.1:${http}/v1/me`, {
    headers: { host: 'localhost' }
  }), 'response')
  t.match(redirect, { statusCode: 301, headers: { location: 'https://localhost/v1/me' } })
  redirect.resume()
})

t.test('nginx behind a load balancer', { skip: skipNginx }, async t => {
  const issuer = 'https://auth.example.com'
  const { service, port } = await listen(t, issuer, 'loopback,10.0.0.0/16')
  const nginxPort = await freePort()
  const configuration = example('nginx-behind-alb.conf')
    .replace('127.0.0.1:3000', `127.0.0.1:${port}`)
    .replace('listen 8080', `listen 127.0.0.1:${nginxPort}`)
  await startServer(t, { http: configuration, locations: '' })

  const send = async (path: string, headers: Record<string, string>, body?: object) =>
    await fetch(`http://127.0.0.1:${nginxPort}${path}`, body
      ? {
          method: 'POST',
          headers: { ...headers, 'content-type': 'application/json' },
          body: JSON.stringify(body)
        }
      : { headers })
  // As the load balancer appends the client's address to what the client claims.
  const client = { 'x-forwarded-for': '203.0.113.9, 198.51.100.7, 10.0.3.4', 'x-forwarded-proto': 'https' }
  const signedUp = await send('/v1/auth/register', client, newUser())
  t.equal(signedUp.status, 201)
  const { session_id: id } = await signedUp.json() as { session_id: string }
  t.strictSame(await addressOfSession(service, id), [{ ip: '198.51.100.7' }])
  const plain = await send('/v1/me', { ...client, 'x-forwarded-proto': 'http' })
  t.match(await plain.json(), { status: 403, code: 'https_required' })
  t.equal((await send('/readyz', {})).status, 200, 'the health check of the load balancer')
})

t.test('Kubernetes', async t => {
  interface Pod { containers: Array<Record<string, unknown>>, enableServiceLinks: boolean }
  interface Manifest { kind: string, data: Record<string, string>, spec: { template: { spec: Pod } } }
  const documents = parseAllDocuments(example('kubernetes.yaml'))
  t.strictSame(documents.flatMap(({ errors }) => errors), [])
  const manifests = documents.map(document => document.toJS() as Manifest)
  t.strictSame(manifests.map(({ kind }) => kind), [
    'ConfigMap', 'Job', 'Deployment', 'Service', 'PodDisruptionBudget', 'Ingress'
  ])
  const secret = {
    DATABASE_URL: 'postgres://latchkey:secret@db.example.com/latchkey', KEY_ENCRYPTION_KEY: key
  }
  const data = manifests[0]?.data ?? {}
  for (const name of Object.keys(data)) t.ok(name in variables, name)
  const config = load({ NODE_ENV: 'production', HOST: '0.0.0.0', ...data, ...secret })
  t.match(config, { production: true, issuer: 'https://auth.example.com', migrateOnStart: false })
  for (const { spec: { template } } of manifests.slice(1, 3)) t.equal(template.spec.enableServiceLinks, false)
  const [container] = manifests[2]?.spec.template.spec.containers ?? []
  t.match(container?.['ports'], [{ containerPort: config.port }, { containerPort: config.metricsPort }])
})
