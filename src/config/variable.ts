/** One environment variable: how its text is parsed, and what `.env.example` says about it. */
export interface Variable<Value> {
  parse: (text: string) => Value
  /** The default, as text; undefined if the default is the absence of a value. */
  preset: string | undefined
  /** What the service does if the variable is unset and `preset` does not say it. */
  unset?: string
  /** What the variable does, with its unit. */
  meaning: string
  /** Whether the value may also be in a file that the variable of this name with `_FILE` names. */
  secret?: boolean
}

/** A variable with a default. */
export const variable = <Value>(preset: string, parse: (text: string) => Value, meaning: string) =>
  ({ preset, parse, meaning })
/** A variable that need not have a value; `unset` says what happens then. */
export const optional = <Value>(unset: string, parse: (text: string) => Value, meaning: string) =>
  ({ preset: undefined, unset, parse, meaning })
/** The same for a secret, which can be in a file. */
export const secret = <Value>(unset: string, parse: (text: string) => Value, meaning: string) =>
  ({ preset: undefined, unset, parse, meaning, secret: true })
