import { createHash, createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'

export type Algorithm = 'ES256' | 'EdDSA' | 'RS256'

/** RFC 7517, of an elliptic curve, Edwards curve or RSA key. */
export interface PublicJwk { kty: string, use: 'sig', alg: string, kid: string, crv?: string, x?: string, y?: string, n?: string, e?: string }

const pair = promisify(generateKeyPair)

/** A new key pair; the private half is PKCS #8 in DER, the id the thumbprint of the public one. */
export async function generate (algorithm: Algorithm): Promise<{ kid: string, publicJwk: PublicJwk, privateKey: Buffer }> {
  const { publicKey, privateKey } = await ({
    ES256: () => pair('ec', { namedCurve: 'P-256' }),
    EdDSA: () => pair('ed25519'),
    RS256: () => pair('rsa', { modulusLength: 2048 })
  }[algorithm])()
  const publicJwk = jwk(publicKey, algorithm)
  return { kid: publicJwk.kid, publicJwk, privateKey: privateKey.export({ type: 'pkcs8', format: 'der' }) }
}

function jwk (publicKey: KeyObject, algorithm: Algorithm): PublicJwk {
  const members = publicKey.export({ format: 'jwk' }) as Pick<PublicJwk, 'kty' | 'crv' | 'x' | 'y' | 'n' | 'e'>
  return { ...members, kid: thumbprint(members), alg: algorithm, use: 'sig' }
}

/** RFC 7638: the SHA-256 of the members that make the key, in the order of their names. */
function thumbprint ({ crv, e, kty, n, x, y }: Partial<PublicJwk>): string {
  return createHash('sha256').update(JSON.stringify({ crv, e, kty, n, x, y })).digest('base64url')
}

/** Both halves of a private key in PEM, and the public one as it is published. */
export function halves (privateKey: Buffer, algorithm: Algorithm) {
  const key = createPrivateKey({ key: privateKey, format: 'der', type: 'pkcs8' })
  const publicKey = createPublicKey(key)
  return {
    privateKey: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    publicJwk: jwk(publicKey, algorithm)
  }
}
