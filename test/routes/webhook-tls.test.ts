import type { Test } from 'tap'
import { freePort } from '../../src/database/embedded/server.ts'
import { authority } from '../support/certificates.ts'
import { keyEncryptionKey, newUser } from '../support/app.ts'
import { createDatabase, sql } from '../support/postgres.ts'
import { ready, start } from '../support/process.ts'
import { t } from '../support/test.ts'
import { receiver } from '../support/webhook-receiver.ts'
import { waitUntil } from '../support/polling.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'

const { file: authorityFile, issue } = authority(t)

/**
 * Starts the service as a process that trusts the certificate authority. Returns a function that creates a
 * webhook for a URL, sends it a test event, and returns the logged result of the first attempt.
 */
async function startService (t: Test) {
  const url = await createDatabase(t)
  const service = start(t, temporaryFolder(t), {
    DATABASE_URL: url,
    KEY_ENCRYPTION_KEY: keyEncryptionKey.toString('base64'),
    NODE_EXTRA_CA_CERTS: authorityFile,
    WEBHOOK_PRIVATE_NETWORKS: '127.0.0.0/8'
  }, await freePort())
  await ready(service)
  let accessToken = ''
  const request = async (method: string, path: string, body?: object) => {
    const response = await fetch(service.base + path, {
      method,
      headers: { authorization: `Bearer ${accessToken}`, ...body && { 'content-type': 'application/json' } },
      ...body && { body: JSON.stringify(body) }
    })
    return JSON.parse(await response.text())
  }
  const admin = newUser()
  await request('POST', '/v1/auth/register', admin)
  await sql(url, "update users set roles = '{user,admin}'")
  accessToken = (await request('POST', '/v1/auth/login', admin)).access_token
  return async (url: string) => {
    const { id } = await request('POST', '/v1/admin/webhooks', { url, events: ['user.deleted'] })
    const { id: deliveryId } = await request('POST', `/v1/admin/webhooks/${id}/test`)
    return await waitUntil(`an attempt for ${url}`, async () => {
      const { status, log } = await request('GET', `/v1/admin/webhooks/${id}/deliveries/${deliveryId}`)
      return log.length > 0 && { status, ...log[0] }
    })
  }
}

// The service resolves a host once, checks the address, and connects to that address.
t.test('a delivery over TLS', async t => {
  const attempt = await startService(t)
  const names = 'DNS:hooks.localhost,IP:127.0.0.1'

  await t.test('is sent to a host that its certificate names', async t => {
    const inbox = await receiver(t, issue(names))
    const delivered = { status: 'delivered', response_status: 204, error: null }
    t.match(await attempt(inbox.url.replace('127.0.0.1', 'hooks.localhost')), delivered)
    t.match(await attempt(inbox.url), delivered)
    const hosts = inbox.requests.map(({ servername, headers }) => [servername, headers.host?.split(':')[0]])
    t.strictSame(hosts, [['hooks.localhost', 'hooks.localhost'], ['false', '127.0.0.1']])
  })

  for (const [fault, certificate, host, error] of [
    ['names another host', issue(names), 'other.localhost', 'certificate_name'],
    ['does not name its address', issue('DNS:hooks.localhost'), '127.0.0.1', 'certificate_name'],
    ['has expired', issue(names, -1), 'hooks.localhost', 'certificate_expired'],
    ['is of an untrusted authority', authority(t).issue(names), 'hooks.localhost', 'certificate_untrusted']
  ] as const) {
    await t.test(`is not sent to a host whose certificate ${fault}, and logs ${error}`, async t => {
      const inbox = await receiver(t, certificate)
      const result = await attempt(inbox.url.replace('127.0.0.1', host))
      t.match(result, { status: 'pending', response_status: null, error })
      t.strictSame(inbox.requests, [])
      t.equal(inbox.connections(), 1, 'the receiver was reachable')
    })
  }
})
