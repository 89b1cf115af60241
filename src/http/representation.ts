import { createHash } from 'node:crypto'
import { promisify } from 'node:util'
import { brotliCompress, constants, gzip } from 'node:zlib'

/** One representation of content (RFC 9110 section 3.2), with a strong entity tag of its own. */
export interface Representation {
  body: Buffer
  etag: string
  /** The content coding; undefined for the plain form. */
  encoding: Coding | undefined
}

type Coding = 'br' | 'gzip'

/** Content that is the same for every request, in each form that it is sent in. */
export interface Content {
  type: string
  /** The form for a client with this `Accept-Encoding`. The first call that needs them makes the others. */
  select: (acceptEncoding: string | undefined) => Promise<Representation>
  /** Makes the compressed forms, off the event loop. */
  compress: () => Promise<void>
}

// Higher levels take more work and hardly make scripts and JSON smaller.
const brotliQuality = 6
const compressors: Record<Coding, (body: Buffer) => Promise<Buffer>> = {
  br: body => promisify(brotliCompress)(body, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: brotliQuality,
      [constants.BROTLI_PARAM_SIZE_HINT]: body.length
    }
  }),
  gzip: body => promisify(gzip)(body)
}
/** The codings, the preferred one first. */
const codings: readonly Coding[] = ['br', 'gzip']

/** Makes content from text or bytes. Images are not compressed, because their formats already are. */
export function createContent (given: string | Buffer, type: string): Content {
  const plain = Buffer.from(given)
  const hash = createHash('sha256').update(plain).digest('base64url').slice(0, 22)
  const forms = new Map<Coding, Representation>()
  let compressing: Promise<void> | undefined

  async function compressAll () {
    if (type.startsWith('image/')) return
    for (const encoding of codings) {
      const body = await compressors[encoding](plain)
      forms.set(encoding, { body, etag: `"${hash}-${encoding}"`, encoding })
    }
  }

  const compress = () => (compressing ??= compressAll())
  return {
    type,
    compress,
    async select (acceptEncoding) {
      // If compressing fails, the plain form is sent, which is correct too.
      if (preferredCoding(acceptEncoding, () => true)) await compress().catch(() => {})
      const coding = preferredCoding(acceptEncoding, each => forms.has(each))
      return (coding && forms.get(coding)) ?? { body: plain, etag: `"${hash}"`, encoding: undefined }
    }
  }
}

// Browsers send about 30 characters. A longer header is not worth the work of reading it.
const maxHeaderLength = 256

/** The available coding that an `Accept-Encoding` header prefers, if any (RFC 9110 section 12.5.3). */
function preferredCoding (header = '', isAvailable: (coding: Coding) => boolean): Coding | undefined {
  if (header.length > maxHeaderLength) return undefined
  const weights = new Map(header.toLowerCase().split(',').map(part => {
    const [name = '', ...parameters] = part.split(';').map(text => text.trim())
    const weight = parameters.find(parameter => parameter.startsWith('q='))
    return [name, weight === undefined ? 1 : Number(weight.slice(2))]
  }))
  const weightOf = (coding: Coding) => weights.get(coding) ?? weights.get('*') ?? 0
  const plainWeight = weights.get('identity') ?? 0
  const isAccepted = (coding: Coding) => weightOf(coding) > 0 && weightOf(coding) >= plainWeight
  const accepted = codings.filter(coding => isAvailable(coding) && isAccepted(coding))
  return accepted.sort((one, other) => weightOf(other) - weightOf(one))[0]
}

/** Whether an `If-None-Match` header names this entity tag, by weak comparison (RFC 9110 section 13.1.2). */
export const matchesEtag = (ifNoneMatch = '', etag: string): boolean =>
  ifNoneMatch.split(',').some(tag => ['*', etag].includes(tag.trim().replace(/^W\//, '')))
