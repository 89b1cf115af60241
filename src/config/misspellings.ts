import type { Environment } from './environment.ts'
import { variables } from './variables.ts'

const names = Object.keys(variables)
// Two edits turn a short name into too many others, such as HOST into POST. In a short name only a doubled
// letter, a missing letter or two swapped letters count.
const minNameLength = 7
const minShortLength = 4
const maxEdits = 2

/** Warnings about variables that are probably misspelled names of ours, such as DATABSE_URL. */
export function misspellingWarnings (environment: Environment): string[] {
  return Object.keys(environment).flatMap(given => {
    const plain = given.replace(/_FILE$/, '')
    if (names.includes(plain)) return []
    const unset = names.filter(name => environment[name] === undefined)
    const meant = unset.find(name => name.length < minNameLength && isSlip(plain, name)) ??
      (plain.length < minNameLength ? undefined : closest(plain, unset.filter(isLong)))
    return meant === undefined
      ? []
      : [`${given} is not a variable of Latchkey and has no effect: did you mean ${meant}?`]
  })
}

const isLong = (name: string) => name.length >= minNameLength

/** Whether a word is a short name with one letter doubled, one missing, or two swapped. */
function isSlip (word: string, name: string): boolean {
  if (word.length < minShortLength || countEdits(word, name) !== 1) return false
  const isReplaced = word.length === name.length && [...word].sort().join() !== [...name].sort().join()
  const isDoubled = [...word].some((letter, index) =>
    letter === word[index + 1] && word.slice(0, index) + word.slice(index + 1) === name)
  return !isReplaced && (word.length <= name.length || isDoubled)
}

/** The candidate that the fewest edits turn a word into, if there is one within two edits. */
export function closest (word: string, candidates: readonly string[]): string | undefined {
  const ranked = candidates.map(candidate => ({ candidate, edits: countEdits(word, candidate) }))
  return ranked.filter(({ edits }) => edits <= maxEdits).sort(
    (one, other) => one.edits - other.edits
  )[0]?.candidate
}

/** The Damerau-Levenshtein distance: inserted, deleted, replaced and swapped characters. */
function countEdits (from: string, to: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (let row = 1; row <= from.length; row++) {
    const current = [row]
    for (let column = 1; column <= to.length; column++) {
      const isSame = from[row - 1] === to[column - 1]
      let edits = Math.min(
        (last[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1, (last[column - 1] ?? 0) + (isSame ? 0 : 1))
      const isSwap = row > 1 && column > 1 && from[row - 1] === to[column - 2] &&
        from[row - 2] === to[column - 1]
      if (isSwap) edits = Math.min(edits, (beforeLast[column - 2] ?? 0) + 1)
      current.push(edits)
    }
    beforeLast = last
    last = current
  }
  return last[to.length] ?? 0
}
