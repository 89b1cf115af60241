interface DescribedContent { content?: Record<string, { schema?: object }> }

const createdStatus = 201

/** What a response returns, by the name of its schema. */
export function describeSuccess (status: number, { content }: DescribedContent): string {
  const [media] = Object.values<{ schema?: object }>(content ?? {})
  const schema: { $ref?: string, properties?: object } = media?.schema ?? {}
  const name = schema.$ref?.split('/').at(-1)
  if (name === undefined) return 'items' in Object(schema.properties) ? 'A page of the list.' : 'The result.'
  const known = successDescriptions[name]
  if (known !== undefined) return known
  const noun = name.replaceAll(/(?<=[a-z])(?=[A-Z])/g, ' ').toLowerCase()
  return status === createdStatus ? `The new ${noun}.` : `The ${noun}.`
}

const successDescriptions: Record<string, string> = {
  TokenResponse: 'The tokens of the session, and its user.',
  AdminUser: 'The user.',
  CreatedClient: 'The new client, with its secret. A public client has none.',
  ClientWithSecret: 'The client, with its secret. The secret is not shown again.',
  WebhookDelivery: 'The delivery.',
  WebhookDeliveryWithLog: 'The delivery, with its attempts.',
  WebhookWithSecret: 'The webhook, with its secret. The secret is not shown again.'
}
