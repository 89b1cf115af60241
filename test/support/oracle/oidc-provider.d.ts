// oidc-provider has no types of its own. These are for the part that the tests use.
declare module 'oidc-provider' {
  import type { IncomingMessage, ServerResponse } from 'node:http'

  interface Interaction {
    prompt: {
      name: string
      details: { missingOIDCScope?: string[], missingResourceScopes?: Record<string, string[]> }
    }
    params: { client_id: string }
    session?: { accountId: string }
    grantId?: string
  }

  interface Grant {
    addOIDCScope: (scope: string) => void
    addResourceScope: (resource: string, scope: string) => void
    save: () => Promise<string>
  }

  export class Provider {
    constructor (issuer: string, configuration: object)
    Grant: {
      new (properties: { accountId: string | undefined, clientId: string }): Grant
      find: (id: string) => Promise<Grant | undefined>
    }

    on (event: 'server_error', listener: (context: unknown, error: Error) => void): this
    callback (): (request: IncomingMessage, response: ServerResponse) => Promise<void>
    interactionDetails (request: IncomingMessage, response: ServerResponse): Promise<Interaction>
    interactionFinished (request: IncomingMessage, response: ServerResponse, result: object): Promise<void>
  }

  interface Policy { add: (prompt: object, index: number) => void }
  export const interactionPolicy: {
    base: () => Policy
    Prompt: new (properties: { name: string, requestable: boolean }) => object
  }
  export const errors: { InvalidTarget: new (description?: string) => Error }
}
