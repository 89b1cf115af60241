import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'

const page = 'docs/limits.md'
const folder = 'test/limits'

/** What ends a claim: the id of its test, or `advice` if it recommends something and claims nothing. */
const marker = /<!-- (?:test: (limits-\d{3})|advice) -->/

interface Section { text: string, blocks: Array<{ language: string, text: string }> }

/** The sections of the page by their headings, without their blocks of code, which are apart. */
function readSections (): Map<string, Section> {
  const parts = readFileSync(page, 'utf8').split(/^(?=## )/m)
  return new Map(parts.map(part => {
    const [heading = ''] = part.split('\n', 1)
    const blocks: Section['blocks'] = []
    const text = part.slice(heading.length).replaceAll(/^```(\w*)\n(.*?)^```$/gms, (_, language: string, code: string) => {
      blocks.push({ language, text: code })
      return ''
    })
    return [heading.replace(/^#+ /, ''), { text, blocks }]
  }))
}

/** The blocks of code in one language under a heading of the page. */
export const blocks = (heading: string, language: string): string[] =>
  readSections().get(heading)?.blocks.filter(block => block.language === language).map(({ text }) => text) ?? []

/** The claims of the page by their ids. */
function readClaims (): Map<string, string> {
  const claims = new Map<string, string>()
  for (const { text } of readSections().values()) {
    for (const line of text.split('\n')) {
      for (let rest = line, found; (found = marker.exec(rest)); rest = rest.slice(found.index + found[0].length)) {
        const [, id] = found
        if (id !== undefined) claims.set(id, rest.slice(0, found.index).trim())
      }
    }
  }
  return claims
}

/** What the page says under an id. */
export function claim (id: string): string {
  const text = readClaims().get(id)
  if (text === undefined) throw new Error(`${page} has no ${id}`)
  return text
}

/**
 * The test `name` of this folder holds a claim: it passes if the tests that verify it exist, in these files.
 */
export function verifiedBy (t: Test, name: string, tests: Record<string, string[]>) {
  t.test(name, async t => {
    for (const [file, names] of Object.entries(tests)) {
      t.ok(existsSync(file), file)
      for (const name of names) {
        const call = `t.test('${name.replaceAll("'", "\\'")}'`
        t.ok(readFileSync(file, 'utf8').includes(call), `${file}: ${name}`)
      }
    }
  })
}

const duplicates = (ids: string[]) => ids.filter((id, index) => ids.indexOf(id) !== index)

export interface LimitsPageFaults {
  /** Text that no id and no `advice` follows. */
  unmarked: string[]
  withoutTest: string[]
  withoutClaim: string[]
  duplicate: string[]
}

/** What is wrong with the binding of claims to tests. */
export function findFaults (): LimitsPageFaults {
  const text = [...readSections().values()].map(section => section.text).join('\n')
  const ids = [...text.matchAll(/<!-- test: (limits-\d{3}) -->/g)].map(([, id = '']) => id)
  const sources = readdirSync(folder).map(name => readFileSync(join(folder, name), 'utf8')).join('\n')
  const tested = [...sources.matchAll(/'(limits-\d{3}): /g)].map(([, id = '']) => id)
  const isClaim = (line: string, next = '') =>
    line.trim() !== '' && !/^(#|\| ---)/.test(line) && !next.startsWith('| ---')
  const lines = text.split('\n')
  const unmarked = lines.filter((line, index) => isClaim(line, lines[index + 1]) && !/-->(?: \|)?$/.test(line))
  return {
    unmarked,
    withoutTest: ids.filter(id => !tested.includes(id)),
    withoutClaim: tested.filter(id => !ids.includes(id)),
    duplicate: [...duplicates(ids), ...duplicates(tested)]
  }
}
