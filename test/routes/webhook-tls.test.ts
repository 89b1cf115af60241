import t, { type Test } from 'tap'
import { freePort } from '../../src/database/embedded/server.ts'
import { authority } from '../support/certificates.ts'
import { keyEncryptionKey, newUser } from '../support/app.ts'
import { createDatabase, sql } from '../support/postgres.ts'
import { ready, start } from '../support/process.ts'
import { receiver } from '../support/webhook-receiver.ts'
import { waitUntil } from '../support/polling.ts'
import { temporaryFolder } from '../support/temporary-folder.ts'

const { file: trusted, issue } = authority(t)

/** The service as a process that trusts the authority, and what an administrator does there. */
async function surroundings (t: Test) {
  const url = await createDatabase(t)
  const service = start(t, temporaryFolder(t), { DATABASE_URL: url, KEY_ENCRYPTION_KEY: keyEncryptionKey.toString('base64'), NODE_EXTRA_CA_CERTS: trusted, WEBHOOK_PRIVATE_NETWORKS: '127.0.0.0/8' }, await freePort())
  await ready(service)
  let token = ''
  const ask = async (method: string, path: string, body?: object) => {
    const answer = await fetch(service.base + path, { method, headers: { authorization: `Bearer ${token}`, ...body && { 'content-type': 'application/json' } }, ...body && { body: JSON.stringify(body) } })
    return JSON.parse(await answer.text())
  }
  const ada = newUser()
  await ask('POST', '/v1/auth/register', ada)
  await sql(url, "update users set roles = '{user,admin}'")
  token = (await ask('POST', '/v1/auth/login', ada)).access_token
  /** Sends something to a webhook, and gives what the log has of the first attempt. */
  return async (url: string) => {
    const { id } = await ask('POST', '/v1/admin/webhooks', { url, events: ['user.deleted'] })
    const { id: delivery } = await ask('POST', `/v1/admin/webhooks/${id}/test`)
    return await waitUntil(`an attempt for ${url}`, async () => {
      const { status, log } = await ask('GET', `/v1/admin/webhooks/${id}/deliveries/${delivery}`)
      return log.length > 0 && { status, ...log[0] }
    })
  }
}

t.test('deliveries over TLS to addresses that were resolved before', async t => {
  const sent = await surroundings(t)
  const names = 'DNS:hooks.localhost,IP:127.0.0.1'

  await t.test('verify the certificate for the name of the host', async t => {
    const inbox = await receiver(t, issue(names))
    t.match(await sent(inbox.url.replace('127.0.0.1', 'hooks.localhost')), { status: 'delivered', response_status: 204, error: null })
    t.match(await sent(inbox.url), { status: 'delivered', response_status: 204, error: null })
    t.strictSame(inbox.requests.map(({ servername, headers }) => [servername, headers.host?.split(':')[0]]), [['hooks.localhost', 'hooks.localhost'], ['false', '127.0.0.1']])
  })

  for (const [what, certificate, host, error] of [
    ['whose certificate is another\'s', issue(names), 'other.localhost', 'certificate_name'],
    ['whose address the certificate does not name', issue('DNS:hooks.localhost'), '127.0.0.1', 'certificate_name'],
    ['whose certificate is too old', issue(names, -1), 'hooks.localhost', 'certificate_expired'],
    ['whose certificate nobody made who is trusted', authority(t).issue(names), 'hooks.localhost', 'certificate_untrusted']
  ] as const) {
    await t.test(`do not go to a host ${what}, and the log says so`, async t => {
      const inbox = await receiver(t, certificate)
      t.match(await sent(inbox.url.replace('127.0.0.1', host)), { status: 'pending', response_status: null, error })
      t.strictSame(inbox.requests, [])
      t.equal(inbox.connections(), 1, 'though it was there')
    })
  }
})
