/** A secret that authenticates refresh tokens. Each token contains its `kid` of 8 characters of base64url. */
export interface MacKey { kid: string, secret: Buffer }

/** A secret that goes into password hashes and is stored apart from them. Each hash names its `kid`. */
export interface Pepper { kid: string, secret: Buffer }
