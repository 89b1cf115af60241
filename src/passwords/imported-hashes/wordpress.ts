import { asTyped } from './imported-hash.ts'

// PHP's trim() removes these characters.
const blanks = /^[ \t\n\r\0\v]+|[ \t\n\r\0\v]+$/g

/**
 * Returns the texts that WordPress may have hashed. It trims passwords. If a password comes from a form,
 * WordPress hashes it with a backslash before each quote and backslash.
 */
export const passwordCandidates = (typed: string): string[] => [...new Set(asTyped(typed).flatMap(text => {
  const trimmed = text.replace(blanks, '')
  return [trimmed, trimmed.replace(/['"\\]/g, '\\$&').replaceAll('\0', '\\0')]
}))]
