/** What a hash or salt in Base64 looks like: of either alphabet or passlib's own, padded or not. */
export const base64 = '[A-Za-z0-9+/_.-]+={0,2}'

/** The bytes of it. */
export const decode = (text: string) => Buffer.from(text.replaceAll('.', '+'), 'base64')

/** Bytes that a hash has at the least: the fewer there are, the more passwords it takes for its own. */
export const shortest = 16
/** And at the most. */
export const longest = 128
