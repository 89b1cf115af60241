import { invalidScope, invalidTarget } from '../../../src/http/oauth-error.ts'
import { isResourceIndicator } from '../../../src/syntax/resource-indicator.ts'
import { words, type Grant } from './grant.ts'

/** A client's own access token (RFC 6749 section 4.4), with resource indicators (RFC 8707). */
export const clientCredentials: Grant = async (app, options, { client, parameters }) => {
  const { scope, resource = [], audience: sameAsResource = [] } = parameters
  const scopes = scope === undefined ? client.scopes : words(scope)
  if (!scopes.every(each => client.scopes.includes(each))) {
    throw invalidScope('The client is not granted every scope that it requests.')
  }
  const resources = [resource, sameAsResource].flat()
  if (!resources.every(isResourceIndicator)) throw invalidTarget()
  const [first = options.audience, ...others] = [...new Set(resources)]
  const grantedScope = scopes.join(' ')
  const { accessToken, expiresIn } = app.signClientToken({
    clientId: client.client_id,
    scope: grantedScope,
    audience: others.length > 0 ? [first, ...others] : first
  })
  return { access_token: accessToken, token_type: 'Bearer', expires_in: expiresIn, scope: grantedScope }
}
