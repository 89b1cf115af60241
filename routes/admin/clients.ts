import { Type } from '@sinclair/typebox'
import * as clients from '../../src/clients/service-clients.ts'
import { notFound } from '../../src/http/problem.ts'
import { Client, clientName, ClientWithSecret, id, page, pageOf, paging, redirectUris, scopes } from '../schemas.ts'
import { noBody, originOf, ref, strict, type Typed } from '../typed.ts'

/** The service clients. */
const clientRoutes: Typed = async (app) => {
  const shared = { tags: ['Administration'], security: [{ bearer: [] }] }
  const problems = ['invalid_token', 'forbidden', 'database_unavailable'] as const
  const one = { params: strict({ id }) }

  app.get('', {
    schema: {
      ...shared,
      operationId: 'listClients',
      summary: 'List the clients',
      description: 'The services that act for themselves, the newest first.',
      querystring: strict(paging),
      response: { 200: page(Client) }
    },
    config: { problems }
  }, async request => {
    const { limit = 20, cursor } = request.query
    const found = await clients.list(app.db, { before: cursor, limit: limit + 1 })
    return pageOf(found, limit, ({ client_id: id }) => id)
  })

  app.post('', {
    schema: {
      ...shared,
      operationId: 'createClient',
      summary: 'Make a client',
      description: 'Gives the client with its first secret, which is shown this once.',
      body: strict({ name: clientName, scopes, redirect_uris: Type.Optional(redirectUris) }, { examples: [{ name: 'Orders', scopes: ['orders:read', 'introspect'] }] }),
      response: { 201: ref(ClientWithSecret) }
    },
    config: { problems }
  }, async (request, reply) => {
    const { name, scopes, redirect_uris: redirectUris } = request.body
    return reply.code(201).send(await clients.create(app.db, { name, scopes, ...redirectUris && { redirectUris } }, originOf(request)))
  })

  app.get('/:id', {
    schema: {
      ...shared,
      ...one,
      operationId: 'getClient',
      summary: 'Read a client',
      response: { 200: ref(Client) }
    },
    config: { problems: [...problems, 'not_found'] }
  }, async request => {
    const client = await clients.find(app.db, request.params.id)
    if (!client) throw notFound()
    return client
  })

  app.patch('/:id', {
    schema: {
      ...shared,
      ...one,
      operationId: 'updateClient',
      summary: 'Change a client',
      description: 'Changes what is named and nothing else. Tokens that were issued keep their scope until they expire.',
      body: strict({ name: Type.Optional(clientName), scopes: Type.Optional(scopes), redirect_uris: Type.Optional(redirectUris) }, { examples: [{ scopes: ['orders:read'] }] }),
      response: { 200: ref(Client) }
    },
    config: { problems: [...problems, 'not_found'] }
  }, async request => {
    const { params: { id }, body } = request
    const { name, scopes, redirect_uris: redirectUris } = body
    const change = { ...name !== undefined && { name }, ...scopes && { scopes }, ...redirectUris && { redirectUris } }
    const client = Object.keys(change).length === 0 ? await clients.find(app.db, id) : await clients.update(app.db, id, change, originOf(request))
    if (!client) throw notFound()
    return client
  })

  app.delete('/:id', {
    schema: {
      ...shared,
      ...one,
      operationId: 'deleteClient',
      summary: 'Delete a client',
      description: 'The client and its secrets are gone; its access tokens expire.',
      response: { 204: { type: 'null', description: 'The client is gone.' } }
    },
    config: { problems: [...problems, 'not_found'] }
  }, async (request, reply) => {
    if (!await clients.remove(app.db, request.params.id, originOf(request))) throw notFound()
    return reply.code(204).send()
  })

  app.post('/:id/secret', {
    schema: {
      ...shared,
      ...one,
      operationId: 'createClientSecret',
      summary: 'Give a client a new secret',
      description: 'Gives the client with the secret, which is shown this once. The one before stays good until the next is made, so that it can be replaced without a gap; with `immediately` all older ones end now.',
      body: strict({ immediately: Type.Optional(Type.Boolean({ description: 'Whether the older secrets end now.', default: false })) }, { examples: [{}, { immediately: true }] }),
      response: { 201: ref(ClientWithSecret) }
    },
    preValidation: noBody,
    config: { optionalBody: true, problems: [...problems, 'not_found'] }
  }, async (request, reply) => {
    const { params: { id }, body: { immediately = false } } = request
    const client = await clients.addSecret(app.db, id, { replace: immediately }, originOf(request))
    if (!client) throw notFound()
    return reply.code(201).send(client)
  })
}

export default clientRoutes
