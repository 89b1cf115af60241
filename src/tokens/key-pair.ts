import { createHash, createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'

/** The algorithms of signing keys (RFC 7518 section 3.1, RFC 8037 section 3.1). */
export const signingAlgorithms = ['ES256', 'EdDSA', 'RS256'] as const
export type SigningAlgorithm = typeof signingAlgorithms[number]

/** The algorithm that every client of OpenID Connect can verify (OpenID Connect Core 1.0 section 15.1). */
export const idTokenAlgorithm = 'RS256'

/** A public key as a JWK (RFC 7517): of an elliptic curve, of an Edwards curve, or of RSA. */
export interface PublicJwk {
  kty: string
  use: 'sig'
  alg: string
  kid: string
  crv?: string
  x?: string
  y?: string
  n?: string
  e?: string
}

const generatePair = promisify(generateKeyPair)
const generators = {
  ES256: () => generatePair('ec', { namedCurve: 'P-256' }),
  EdDSA: () => generatePair('ed25519'),
  RS256: () => generatePair('rsa', { modulusLength: 2048 })
}

export interface NewKeyPair {
  /** The thumbprint of the public key. */
  kid: string
  publicJwk: PublicJwk
  /** PKCS #8 in DER. */
  privateKey: Buffer
}

/** Generates a key pair for tokens with this algorithm. */
export async function generateSigningKey (algorithm: SigningAlgorithm): Promise<NewKeyPair> {
  const { publicKey, privateKey } = await generators[algorithm]()
  const publicJwk = toJwk(publicKey, algorithm)
  return { kid: publicJwk.kid, publicJwk, privateKey: privateKey.export({ type: 'pkcs8', format: 'der' }) }
}

type JwkMembers = Pick<PublicJwk, 'kty' | 'crv' | 'x' | 'y' | 'n' | 'e'>

function toJwk (publicKey: KeyObject, algorithm: SigningAlgorithm): PublicJwk {
  const members = publicKey.export({ format: 'jwk' }) as JwkMembers
  return { ...members, kid: thumbprint(members), alg: algorithm, use: 'sig' }
}

/** RFC 7638 section 3: the SHA-256 of the required members, in the order of their names. */
function thumbprint ({ crv, e, kty, n, x, y }: Partial<PublicJwk>): string {
  return createHash('sha256').update(JSON.stringify({ crv, e, kty, n, x, y })).digest('base64url')
}

/** Exports both halves of a private key (PKCS #8 in DER) in PEM, and the public half as it is published. */
export function exportKeyPair (privateKey: Buffer, algorithm: SigningAlgorithm) {
  const key = createPrivateKey({ key: privateKey, format: 'der', type: 'pkcs8' })
  const publicKey = createPublicKey(key)
  return {
    privateKey: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    publicJwk: toJwk(publicKey, algorithm)
  }
}
