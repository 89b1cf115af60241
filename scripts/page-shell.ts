import { spawn, spawnSync, type ChildProcessByStdio } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import type { Readable, Writable } from 'node:stream'
import type { CodeBlock } from './documentation.ts'

/** The shell that a reader has open for a page. */
export class PageShell {
  readonly #folder: string
  readonly #shell: ChildProcessByStdio<Writable, Readable, null>
  readonly #output: AsyncIterator<string>

  constructor (folder: string) {
    this.#folder = folder
    this.#shell = spawn('bash', ['-euo', 'pipefail', '-s'], {
      cwd: folder, stdio: ['pipe', 'pipe', 'inherit']
    })
    this.#shell.stdout.setEncoding('utf8')
    // A write to a shell that has ended fails. The end of its output reports that.
    this.#shell.stdin.on('error', () => {})
    this.#output = this.#shell.stdout[Symbol.asyncIterator]()
  }

  /** Runs the commands of a block. Returns their standard output; throws if one of them fails. */
  async run ({ page, line, text }: CodeBlock): Promise<string> {
    const marker = `end of block ${randomUUID()}`
    // The commands must not read the script, which is the standard input of the shell.
    const commands = `{ set -x\n${text}\n{ set +x; } 2> /dev/null; } < /dev/null`
    this.#shell.stdin.write(`${commands}\necho; echo '${marker}'\n`)
    let output = ''
    while (!output.includes(marker)) {
      const { value, done } = await this.#output.next()
      if (done === true) throw new Error(`${page}:${line}: a command failed`)
      output += value
    }
    const shown = output.slice(0, output.indexOf(marker))
    process.stdout.write(shown)
    return shown
  }

  /** The variables and functions that the page has defined so far, as commands that define them. */
  async definitions (block: CodeBlock): Promise<string> {
    const text = "{ declare -p | grep -v '^declare -[a-zA-Z]*r'; declare -f; } 2> /dev/null"
    return await this.run({ ...block, text })
  }

  /** Whether a command succeeds in the folder of the page. */
  succeeds (command: string): boolean {
    return spawnSync('bash', ['-c', command], { cwd: this.#folder, stdio: 'ignore' }).status === 0
  }

  close (): void {
    this.#shell.stdin.end()
  }
}
