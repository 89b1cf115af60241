// node:readline is not used: it holds a line of any length in memory, and replaces invalid UTF-8 without a word.

/** A line of a text, counted from 1; `fault` where it is longer than allowed or is no UTF-8. */
export type Line = { number: number, text: string } | { number: number, fault: 'line_too_long' | 'invalid_utf8' }

const newline = 0x0a
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * The lines of a stream of bytes, but for the empty ones; at most `longest` bytes of one are held. They end with
 * LF or CRLF; a byte order mark is passed over.
 */
export async function * lines (chunks: AsyncIterable<Buffer>, longest: number): AsyncGenerator<Line> {
  let number = 1
  let held: Buffer[] = []
  let length = 0
  const hold = (piece: Buffer) => {
    length += piece.length
    if (length > longest) held = []
    else held.push(piece)
  }
  const take = (): Line | undefined => {
    const line = length > longest ? { number, fault: 'line_too_long' } as const : decode(Buffer.concat(held), number)
    number++
    held = []
    length = 0
    return line
  }

  for await (const chunk of chunks) {
    let from = 0
    for (let end; (end = chunk.indexOf(newline, from)) >= 0; from = end + 1) {
      hold(chunk.subarray(from, end))
      const line = take()
      if (line) yield line
    }
    hold(chunk.subarray(from))
  }
  const line = take()
  if (line) yield line
}

function decode (bytes: Buffer, number: number): Line | undefined {
  try {
    const text = decoder.decode(bytes).replace(number === 1 ? /^\uFEFF/ : '', '').trim()
    return text === '' ? undefined : { number, text }
  } catch {
    return { number, fault: 'invalid_utf8' }
  }
}
