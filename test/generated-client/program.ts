// Compiled in CI against the client that is generated from openapi.json, and run against a service.
import createClient from 'openapi-fetch'
import type { components, paths } from '../../generated/api.d.ts'

const baseUrl = process.argv[2] ?? 'http://localhost:3000'
const client = createClient<paths>({ baseUrl })

const email = `generated-${Date.now()}@example.com`
const { data, error, response } = await client.POST('/v1/auth/register', {
  body: { email, password: 'a phrase for the generated client', refresh_token_delivery: 'body' }
})
if (error) {
  const problem: components['schemas']['Problem'] = error
  throw new Error(`${response.status} ${problem.code}: ${problem.detail}`)
}
if (!('access_token' in data)) throw new Error(`the address is to be proved first: ${data.status}`)
const { access_token: token, user }: components['schemas']['TokenResponse'] = data

const me = await client.GET('/v1/me', { headers: { authorization: `Bearer ${token}` } })
if (me.data?.id !== user.id) throw new Error('the account is another')

const refused = await client.POST('/v1/auth/login', { body: { email, password: 'wrong' } })
if (refused.response.status === 401 && refused.error?.code !== 'invalid_credentials') {
  throw new Error('the refusal is another')
}

// @ts-expect-error: of a type that the document does not know
const wrong = async () => await client.PATCH('/v1/me', { body: { name: 5 } })
if (typeof wrong !== 'function') throw new Error('unreachable')

console.log(`The generated client signed ${me.data.email} up.`)
