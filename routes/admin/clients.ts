import { Type } from '@sinclair/typebox'
import * as clients from '../../src/clients/service-clients.ts'
import { notFound } from '../../src/http/problems.ts'
import { id, page, pageOf, paging } from '../schemas.ts'
import { allowMissingBody, originOf, ref, strict, type Typed } from '../typed.ts'
import { Client, clientName, ClientWithSecret, redirectUris, scopes } from './client-schemas.ts'
import { secretRotation } from './secret-rotation.ts'

/** Service clients. */
const clientRoutes: Typed = async (app) => {
  const shared = { tags: ['Administration'], security: [{ bearer: [] }] }
  const problems = ['invalid_token', 'forbidden', 'database_unavailable'] as const
  const byId = { params: strict({ id }) }

  app.get('', {
    schema: {
      ...shared,
      operationId: 'listClients',
      summary: 'List the clients',
      description: 'Lists the clients, newest first. A client is a service that acts on its own behalf.',
      querystring: strict(paging),
      response: { 200: page(Client) }
    },
    config: { problems }
  }, async request => {
    const { limit = 20, cursor } = request.query
    const items = await clients.list(app.db, { before: cursor, limit: limit + 1 })
    return pageOf(items, limit, ({ client_id: id }) => id)
  })

  app.post('', {
    schema: {
      ...shared,
      operationId: 'createClient',
      summary: 'Create a client',
      description: 'Returns the client with its first secret. The secret is shown only this once.',
      body: strict(
        { name: clientName, scopes, redirect_uris: Type.Optional(redirectUris) },
        { examples: [{ name: 'Orders', scopes: ['orders:read', 'introspect'] }] }
      ),
      response: { 201: ref(ClientWithSecret) }
    },
    config: { problems }
  }, async (request, reply) => {
    const { name, scopes, redirect_uris: redirectUris } = request.body
    const created = { name, scopes, ...redirectUris && { redirectUris } }
    return reply.code(201).send(await clients.create(app.db, created, originOf(request)))
  })

  app.get('/:id', {
    schema: {
      ...shared,
      ...byId,
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
      ...byId,
      operationId: 'updateClient',
      summary: 'Change a client',
      description: 'Changes only the given members. Issued tokens keep their scope until they expire.',
      body: strict({
        name: Type.Optional(clientName),
        scopes: Type.Optional(scopes),
        redirect_uris: Type.Optional(redirectUris)
      }, { examples: [{ scopes: ['orders:read'] }] }),
      response: { 200: ref(Client) }
    },
    config: { problems: [...problems, 'not_found'] }
  }, async request => {
    const { params: { id }, body } = request
    const { name, scopes, redirect_uris: redirectUris } = body
    const change = {
      ...name !== undefined && { name }, ...scopes && { scopes }, ...redirectUris && { redirectUris }
    }
    const client = Object.keys(change).length === 0
      ? await clients.find(app.db, id)
      : await clients.update(app.db, id, change, originOf(request))
    if (!client) throw notFound()
    return client
  })

  app.delete('/:id', {
    schema: {
      ...shared,
      ...byId,
      operationId: 'deleteClient',
      summary: 'Delete a client',
      description: 'Deletes the client and its secrets. Latchkey rejects its access tokens at once. ' +
        'Services that do not ask Latchkey accept them until they expire.',
      response: { 204: { type: 'null', description: 'The client was deleted.' } }
    },
    config: { problems: [...problems, 'not_found'] }
  }, async (request, reply) => {
    if (!await clients.deleteClient(app.db, request.params.id, originOf(request))) throw notFound()
    return reply.code(204).send()
  })

  app.post('/:id/secret', {
    schema: {
      ...shared,
      ...byId,
      operationId: 'createClientSecret',
      summary: 'Rotate a client secret',
      description: 'Returns the client with a new secret, which is shown only this once. The previous' +
        ' secret stays valid until the next rotation, so you can replace it without downtime. With' +
        ' `immediately`, all older secrets become invalid now.',
      body: secretRotation,
      response: { 201: ref(ClientWithSecret) }
    },
    preValidation: allowMissingBody,
    config: { optionalBody: true, problems: [...problems, 'not_found'] }
  }, async (request, reply) => {
    const { params: { id }, body: { immediately = false } } = request
    const client = await clients.rotateSecret(app.db, id, { replace: immediately }, originOf(request))
    if (!client) throw notFound()
    return reply.code(201).send(client)
  })
}

export default clientRoutes
