import { readFileSync } from 'node:fs'

// The list stays the bytes of one JSON text, half a megabyte: 50,000 strings would take ten times the memory,
// and Node.js 24 would keep the text three times.
const list = readFileSync(new URL(import.meta.resolve('@zxcvbn-ts/language-common/src/passwords.json')))

/**
 * Returns whether a password, given in lower case, is among the 50,000 most common ones (ASVS 6.2.4, the list
 * of @zxcvbn-ts/language-common). The comma is excluded because `","` stands between any two items of the
 * list.
 */
export const isCommon = (password: string) => password !== ',' && list.includes(JSON.stringify(password))
