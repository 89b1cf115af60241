import { readFileSync } from 'node:fs'

// The list stays one JSON text of half a megabyte: 50,000 strings would take ten times the memory.
const list = readFileSync(
  new URL(import.meta.resolve('@zxcvbn-ts/language-common/src/passwords.json')),
  'utf8'
)

/**
 * Returns whether a password, given in lower case, is among the 50,000 most common ones (ASVS 6.2.4, the list
 * of @zxcvbn-ts/language-common). The comma is excluded because `","` stands between any two items of the
 * list.
 */
export const isCommon = (password: string) => password !== ',' && list.includes(JSON.stringify(password))
