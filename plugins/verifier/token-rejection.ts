/** Why a token is not valid. For the log: no reason contains a part of the token. */
export type RejectionReason =
  'token too long' | 'malformed token' | 'signature not canonical' | `invalid header: ${string}` |
  'unknown key' | 'key no longer published' | 'invalid signature' | `invalid claim: ${string}` |
  'token expired' | 'token not yet valid' | 'token issued in the future' | 'token revoked'

export class TokenRejection extends Error {
  readonly reason: RejectionReason

  constructor (reason: RejectionReason) {
    super(reason)
    this.name = 'TokenRejection'
    this.reason = reason
  }
}

export const invalidHeader = (name: string) => new TokenRejection(`invalid header: ${name}`)
export const invalidClaim = (name: string) => new TokenRejection(`invalid claim: ${name}`)
