/** The header of HTTP Basic authentication as OAuth uses it (RFC 6749, section 2.3.1). */
export const basic = (id: string, secret: string) => ({
  authorization: `Basic ${btoa(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`)}`
})

/** The header that carries an access token (RFC 6750, section 2.1). */
export const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
