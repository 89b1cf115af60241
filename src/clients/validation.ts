import type { Violation } from '../http/problem.ts'
import { validationFailed } from '../http/problems.ts'
import { isResourceIndicator } from '../syntax/resource-indicator.ts'
import { isPublicClient, type ClientMember, type ClientMetadata, type IdTokenAlgorithm } from './metadata.ts'
import { maxUriLength, redirectUriRefusal, type RedirectUriRules } from './redirect-uris.ts'

/** What the operator decides about all clients. */
export interface ClientPolicy extends Omit<RedirectUriRules, 'applicationType'> {
  issuer: string
  /** The audience of first-party tokens. */
  audience: string
  /** The algorithm that signs access tokens. ID tokens can have it, too. */
  signingAlgorithm: IdTokenAlgorithm
  /** Why nothing may be sent to a URL, as far as the URL itself tells. */
  destinationRefusal: (url: string) => string | undefined
}

// Anyone can send the id of a public client. These rights would then be everyone's.
const rightsOfConfidentialClients = ['introspect', 'revocations', 'sessions:end']

/**
 * Throws `validation_failed` if the metadata breaks a rule. The values of members that did not change are not
 * checked again, so a client from before a rule can still be renamed.
 */
export function assertValid (
  metadata: ClientMetadata, policy: ClientPolicy, changedMembers: readonly ClientMember[]
): void {
  const violations = [
    ...uriViolations(metadata, policy, changedMembers),
    ...audienceViolations(metadata, policy, changedMembers),
    ...algorithmViolations(metadata, policy, changedMembers),
    ...combinationViolations(metadata)
  ]
  const [first] = violations
  if (first) throw validationFailed(`${first.pointer.slice(1)} ${first.detail}.`, violations)
}

/** Throws `validation_failed` if the metadata of a new client breaks a rule. */
export function assertValidNew (metadata: ClientMetadata, policy: ClientPolicy): void {
  assertValid(metadata, policy, Object.keys(metadata) as ClientMember[])
}

type Check = (
  metadata: ClientMetadata, policy: ClientPolicy, changedMembers: readonly ClientMember[]
) => Violation[]

const uriViolations: Check = (metadata, policy, changedMembers) => {
  const { application_type: applicationType, backchannel_logout_uri: backchannelUri } = metadata
  const rules = { ...policy, applicationType }
  const isTypeChanged = changedMembers.includes('application_type')
  const violations = (['redirect_uris', 'post_logout_redirect_uris'] as const)
    .filter(member => isTypeChanged || changedMembers.includes(member))
    .flatMap(member => violationsOfItems(member, metadata[member], uri => redirectUriRefusal(uri, rules)))
  const isChecked = backchannelUri !== null && changedMembers.includes('backchannel_logout_uri')
  const detail = isChecked ? backchannelRefusal(backchannelUri, policy) : undefined
  return detail === undefined ? violations : [...violations, { pointer: '/backchannel_logout_uri', detail }]
}

/** OpenID Connect Back-Channel Logout 1.0 section 2.2: an absolute URI without a fragment. */
function backchannelRefusal (uri: string, { destinationRefusal }: ClientPolicy): string | undefined {
  if (uri.length > maxUriLength) return `must have at most ${maxUriLength} characters`
  if (uri.includes('#')) return 'must not have a fragment'
  if (!isResourceIndicator(uri)) return 'must be an https URL'
  return destinationRefusal(uri)
}

const audienceViolations: Check = (metadata, { issuer, audience }, changedMembers) => {
  const { audiences, first_party: isFirstParty } = metadata
  if (!changedMembers.includes('audiences') && !changedMembers.includes('first_party')) return []
  const ownAudiences = [issuer, audience].map(normalize)
  return violationsOfItems('audiences', audiences, uri => {
    if (!isResourceIndicator(uri)) return 'must be an absolute URI without a fragment'
    return !isFirstParty && ownAudiences.includes(normalize(uri))
      ? 'must not be Latchkey itself: a third party never gets tokens for it'
      : undefined
  })
}

/** AUDIENCE may be any text. A URI has several spellings. */
const normalize = (audience: string) => URL.canParse(audience) ? new URL(audience).href : audience

const algorithmViolations: Check = (metadata, { signingAlgorithm }, changedMembers) => {
  const algorithm = metadata.id_token_signed_response_alg
  const isOffered = algorithm === 'RS256' || algorithm === signingAlgorithm
  if (isOffered || !changedMembers.includes('id_token_signed_response_alg')) return []
  const offered = [...new Set(['RS256', signingAlgorithm])].join(' or ')
  return [{ pointer: '/id_token_signed_response_alg', detail: `must be ${offered}` }]
}

function combinationViolations (metadata: ClientMetadata): Violation[] {
  const { grant_types: grants, redirect_uris: redirectUris, scopes } = metadata
  const violations: Violation[] = []
  if (grants.includes('authorization_code') && redirectUris.length === 0) {
    const detail = 'must not be empty: the grant authorization_code needs a redirect URI'
    violations.push({ pointer: '/redirect_uris', detail })
  }
  if (grants.includes('refresh_token') && !grants.includes('authorization_code')) {
    const detail = 'must also have authorization_code: without it the client gets no refresh token'
    violations.push({ pointer: '/grant_types', detail })
  }
  if (!isPublicClient(metadata)) return violations
  if (grants.includes('client_credentials')) {
    const detail = 'must not have client_credentials: a public client has no credentials'
    violations.push({ pointer: '/grant_types', detail })
  }
  return [...violations, ...violationsOfItems('scopes', scopes, scope =>
    rightsOfConfidentialClients.includes(scope) ? 'must not be given to a public client' : undefined)]
}

const violationsOfItems = (
  member: ClientMember, items: readonly string[], refusal: (item: string) => string | undefined
): Violation[] => items.flatMap((item, index) => {
  const detail = refusal(item)
  return detail === undefined ? [] : [{ pointer: `/${member}/${index}`, detail }]
})
