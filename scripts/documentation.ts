import { existsSync, readdirSync, readFileSync } from 'node:fs'

/** A block of code in a page, with the directives in the HTML comments right above it. */
export interface CodeBlock {
  page: string
  /** The line of the block's opening fence, counted from 1. */
  line: number
  language: string
  text: string
  directives: Directive[]
}

export interface Directive { name: string, value: string }

/**
 * The directives of a code block. `scripts/check-docs.ts` acts on them:
 *
 * - `not run: REASON`: the block is not run.
 * - `background: URL`: the block starts a service, which is ready when it answers at the URL. A service that
 *   a block started at the same origin before is stopped first, as Ctrl-C does.
 * - `file: NAME`: the block is not run, but written to this file.
 * - `needs: COMMAND`: the block is skipped if the command fails.
 * - `shows: PATTERN`: a regular expression that the output of the block matches.
 */
export const directiveNames = ['not run', 'background', 'file', 'needs', 'shows'] as const

const directivePattern = /^<!-- ([a-z ]+): (.+) -->$/

/** The pages for users and contributors, in the order in which a reader meets them. */
export function listPages (folder: string): string[] {
  const topics = readdirSync(`${folder}/docs`).filter(name => name.endsWith('.md')).sort()
  const examples = readdirSync(`${folder}/examples`).map(name => `examples/${name}/README.md`)
  return [
    'README.md',
    ...topics.map(name => `docs/${name}`),
    ...examples.filter(page => existsSync(`${folder}/${page}`)),
    'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md'
  ]
}

/** A page without the text of its code blocks, and the blocks. */
export interface ParsedPage { prose: string[], blocks: CodeBlock[] }

export function parsePage (folder: string, page: string): ParsedPage {
  const prose: string[] = []
  const blocks: CodeBlock[] = []
  let directives: Directive[] = []
  let block: CodeBlock | undefined
  for (const [index, line] of readFileSync(`${folder}/${page}`, 'utf8').split('\n').entries()) {
    const [, fence] = /^```(.*)$/.exec(line) ?? []
    const [, name, value] = directivePattern.exec(line) ?? []
    if (block !== undefined) {
      if (fence === undefined) block.text += `${line}\n`
      else block = undefined
    } else if (fence !== undefined) {
      block = { page, line: index + 1, language: fence, text: '', directives }
      blocks.push(block)
      directives = []
    } else if (name !== undefined && value !== undefined) {
      directives.push({ name, value })
    } else {
      directives = []
      prose.push(line)
    }
  }
  return { prose, blocks }
}

type DirectiveName = typeof directiveNames[number]

/** The value of a directive of a block; undefined if the block does not have it. */
export const directiveOf = ({ directives }: CodeBlock, name: DirectiveName): string | undefined =>
  directives.find(directive => directive.name === name)?.value
