import { calculateJwkThumbprint, importJWK, type CryptoKey, type JWK } from 'jose'
import type { Algorithm } from './options.ts'

/** A public key of the issuer, pinned to one algorithm (RFC 8725 section 3.1). */
export interface VerificationKey {
  kid: string
  alg: Algorithm
  publicKey: CryptoKey
  /** The thumbprint of the key (RFC 7638), by which a changed key is recognized. */
  thumbprint: string
}

interface PublishedJwk extends JWK { kid: string, alg: string }

/** Whether this is a key of a key set (RFC 7517) that names itself and its algorithm. */
export function isPublishedJwk (value: unknown): value is PublishedJwk {
  const { kid, alg, kty }: { kid?: unknown, alg?: unknown, kty?: unknown } = Object(value)
  return typeof kid === 'string' && typeof alg === 'string' && typeof kty === 'string'
}

/**
 * Imports a key to verify with. Returns undefined if it is for another use or algorithm, or if it is private,
 * weak or broken.
 */
export async function importKey (
  jwk: PublishedJwk, algorithms: readonly Algorithm[]
): Promise<VerificationKey | undefined> {
  const { kid, use = 'sig' } = jwk
  const alg = algorithms.find(algorithm => algorithm === jwk.alg)
  if (!alg || use !== 'sig' || jwk.kty === 'oct') return undefined
  try {
    const publicKey = await importJWK(jwk, alg)
    if (publicKey instanceof Uint8Array || publicKey.type !== 'public' || isWeak(publicKey)) return undefined
    return { kid, alg, publicKey, thumbprint: await calculateJwkThumbprint(jwk) }
  } catch {
    return undefined
  }
}

// RFC 7518 section 3.3.
const minRsaBits = 2_048
const isWeak = ({ algorithm }: CryptoKey) =>
  'modulusLength' in algorithm && Number(algorithm.modulusLength) < minRsaBits
