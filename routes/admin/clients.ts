import { deleteClient } from '../../src/accounts/client-deletion.ts'
import * as clients from '../../src/clients/clients.ts'
import { withDefaults } from '../../src/clients/metadata.ts'
import { present } from '../../src/clients/records.ts'
import { rotateSecret } from '../../src/clients/secrets.ts'
import { assertValidNew } from '../../src/clients/validation.ts'
import { notFound } from '../../src/http/problems.ts'
import { id, page, pageOf, paging } from '../schemas.ts'
import { allowMissingBody, originOf, ref, strict, type Typed } from '../typed.ts'
import { Client, clientChange, ClientWithSecret, CreatedClient, newClient } from './client-schemas.ts'
import { secretRotation } from './secret-rotation.ts'

/** Clients. */
const clientRoutes: Typed = async (app) => {
  const shared = { tags: ['Administration'], security: [{ bearer: [] }] }
  const problems = ['invalid_token', 'forbidden', 'database_unavailable'] as const
  const byId = { params: strict({ id }) }

  app.get('', {
    schema: {
      ...shared,
      operationId: 'listClients',
      summary: 'List the clients',
      description: 'Lists the clients, newest first. A client is a service that acts on its own behalf,' +
        ' or an application to which users sign in.',
      querystring: strict(paging),
      response: { 200: page(Client) }
    },
    config: { problems }
  }, async request => {
    const { limit = 20, cursor } = request.query
    const items = await clients.list(app.db, { before: cursor, limit: limit + 1 })
    return pageOf(items.map(present), limit, ({ client_id: id }) => id)
  })

  app.post('', {
    schema: {
      ...shared,
      operationId: 'createClient',
      summary: 'Create a client',
      description: 'Returns the client with its first secret, which is shown only this once. A public' +
        ' client has no secret.',
      body: newClient,
      response: { 201: ref(CreatedClient) }
    },
    config: { problems }
  }, async (request, reply) => {
    const metadata = withDefaults(request.body)
    assertValidNew(metadata, app.clients.policy)
    return reply.code(201).send(present(await clients.create(app.db, metadata, originOf(request))))
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
    return present(client)
  })

  app.patch('/:id', {
    schema: {
      ...shared,
      ...byId,
      operationId: 'updateClient',
      summary: 'Change a client',
      description: 'Changes only the given members. Issued tokens keep their scope until they expire. A' +
        ' client that becomes public loses its secrets. A public client that gets another authentication' +
        ' method needs a new secret.',
      body: clientChange,
      response: { 200: ref(Client) }
    },
    config: { problems: [...problems, 'not_found'] }
  }, async request => {
    const { params: { id }, body: change } = request
    const update = { id, change, policy: app.clients.policy }
    const client = await clients.update(app.db, update, originOf(request))
    if (!client) throw notFound()
    return present(client)
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
    if (!await deleteClient(app.db, request.params.id, originOf(request))) throw notFound()
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
        ' `immediately`, all older secrets become invalid now. A public client has no secret.',
      body: secretRotation,
      response: { 201: ref(ClientWithSecret) }
    },
    preValidation: allowMissingBody,
    config: { isBodyOptional: true, problems: [...problems, 'not_found'] }
  }, async (request, reply) => {
    const { params: { id }, body: { immediately = false } } = request
    const client = await rotateSecret(app.db, id, { endsOlder: immediately }, originOf(request))
    if (!client) throw notFound()
    return reply.code(201).send(present(client))
  })
}

export default clientRoutes
