const minWidth = 40

/** Breaks a text between words into lines of this width, if the terminal is wide enough for that. */
export function wrapText (text: string, width: number): string[] {
  if (width < minWidth) return [text]
  const lines = ['']
  for (const word of text.split(' ')) {
    const line = lines.at(-1) ?? ''
    if (line === '') lines[lines.length - 1] = word
    else if (line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`
    else lines.push(word)
  }
  return lines
}
