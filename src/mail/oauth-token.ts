/** The client that may send mails, and where it gets its access tokens. */
export interface OAuthClient { tokenUrl: string, clientId: string, clientSecret: string, scope: string }

/** The authorization server gave no access token. The error contains no secret. */
export class TokenRequestError extends Error {}

const timeoutMs = 10_000
const defaultLifetimeSeconds = 300

/**
 * Requests an access token with the client credentials grant (RFC 6749 section 4.4). Returns it with the time
 * at which it expires, in milliseconds. Throws a TokenRequestError.
 */
export async function requestToken (
  { tokenUrl, clientId, clientSecret, scope }: OAuthClient
): Promise<{ token: string, expiresAt: number }> {
  const { host } = new URL(tokenUrl)
  let response: Response
  let text: string
  try {
    const body = new URLSearchParams({
      grant_type: 'client_credentials', client_id: clientId, client_secret: clientSecret, scope
    })
    const signal = AbortSignal.timeout(timeoutMs)
    response = await fetch(tokenUrl, { method: 'POST', body, redirect: 'error', signal })
    text = await response.text()
  } catch (error) {
    const { name = 'Error', cause } = error instanceof Error ? error : {}
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : name
    throw new TokenRequestError(`no access token for the mail server: ${host} cannot be reached (${code})`)
  }
  const answer = parseObject(text)
  const { access_token: token, expires_in: lifetime } = answer
  if (response.ok && typeof token === 'string') {
    const seconds = Number(lifetime) > 0 ? Number(lifetime) : defaultLifetimeSeconds
    return { token, expiresAt: Date.now() + seconds * 1_000 }
  }
  const details = [response.status, ...reasons(answer)].join(', ')
  throw new TokenRequestError(`no access token for the mail server: ${host} answered ${details}`)
}

function parseObject (text: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(text))
  } catch {
    return {}
  }
}

/** The error code, and that of Microsoft Entra, which its documentation explains. */
function reasons ({ error, error_description: description }: Record<string, unknown>): string[] {
  const code = /^[a-z_]{1,40}$/.exec(String(error))?.[0]
  const detail = /^AADSTS\d{1,10}/.exec(String(description))?.[0]
  return [code, detail].filter(each => each !== undefined)
}
