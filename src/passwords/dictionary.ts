import { readFileSync } from 'node:fs'

// The package's list as its JSON text: half a megabyte in one piece, where the words by themselves are ten times that.
const list = readFileSync(new URL(import.meta.resolve('@zxcvbn-ts/language-common/src/passwords.json')), 'utf8')

// Between any two of them is a comma in quotation marks.
/** Whether a password, in lower case, is among the commonest fifty thousand (of @zxcvbn-ts/language-common). */
export const isCommon = (password: string) => password !== ',' && list.includes(JSON.stringify(password))
