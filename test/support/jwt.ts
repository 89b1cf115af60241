import { sign, type KeyObject } from 'node:crypto'

/** The time in JWTs, in seconds. */
export const nowSeconds = () => Math.floor(Date.now() / 1_000)

export const encode = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

/** A token in the compact serialization of RFC 7515, section 7.1. */
export const compact = (header: unknown, payload: unknown, signer: (input: string) => string) => {
  const input = `${encode(header)}.${encode(payload)}`
  return `${input}.${signer(input)}`
}

type Signer = (key: KeyObject) => (input: string) => string

export const es256: Signer = key => input =>
  sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')

export const signers: Record<string, Signer> = {
  ES256: es256,
  RS256: key => input => sign('sha256', Buffer.from(input), key).toString('base64url'),
  EdDSA: key => input => sign(null, Buffer.from(input), key).toString('base64url')
}

const decodePart = (token: string, index: number) =>
  JSON.parse(Buffer.from(token.split('.')[index] ?? '', 'base64url').toString())

/** The id of the key that signed a JWT. The signature is not verified. */
export const kidOf = (token: string): string => decodePart(token, 0).kid

/** The claims of a JWT. The signature is not verified. */
export const claimsOf = (token: string) => decodePart(token, 1)
