// node:readline is not used: it holds a line of any length in memory, and replaces invalid UTF-8 without a
// word.

/** A line of a text, counted from 1. `fault` says why it has no text. */
export type TextLine =
  { number: number, text: string } | { number: number, fault: 'line_too_long' | 'invalid_utf8' }

const newline = 0x0a
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Yields the lines of a byte stream that are not empty, and holds at most `maxBytes` of one line in memory.
 * Lines end with LF or CRLF. A byte order mark is ignored.
 */
export async function * readLines (
  chunks: AsyncIterable<Buffer>, maxBytes: number
): AsyncGenerator<TextLine> {
  let number = 1
  let pieces: Buffer[] = []
  let length = 0
  const append = (piece: Buffer) => {
    length += piece.length
    if (length > maxBytes) pieces = []
    else pieces.push(piece)
  }
  const finishLine = (): TextLine | undefined => {
    const isTooLong = length > maxBytes
    const line = isTooLong
      ? ({ number, fault: 'line_too_long' } as const)
      : decode(Buffer.concat(pieces), number)
    number++
    pieces = []
    length = 0
    return line
  }

  for await (const chunk of chunks) {
    let start = 0
    for (let end; (end = chunk.indexOf(newline, start)) >= 0; start = end + 1) {
      append(chunk.subarray(start, end))
      const line = finishLine()
      if (line) yield line
    }
    append(chunk.subarray(start))
  }
  const line = finishLine()
  if (line) yield line
}

function decode (bytes: Buffer, number: number): TextLine | undefined {
  try {
    const text = decoder.decode(bytes).replace(number === 1 ? /^\uFEFF/ : '', '').trim()
    return text === '' ? undefined : { number, text }
  } catch {
    return { number, fault: 'invalid_utf8' }
  }
}
