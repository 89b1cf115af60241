/** Every problem of a configuration, each beginning with the name of its variable. */
export class ConfigError extends Error {
  readonly problems: string[]

  constructor (problems: string[]) {
    super('The configuration is not valid:\n' + problems.map(problem => `  - ${problem}`).join('\n'))
    this.name = 'ConfigError'
    this.problems = problems
  }
}

const configExitCode = 78

/** The exit code of a process that ends with this error: EX_CONFIG of sysexits.h, or 1. */
export const exitCode = (error: unknown): number => error instanceof ConfigError ? configExitCode : 1
