/** Why a line is rejected, or a value is left out; these are public words of the command's report. */
export type ImportRejectionReason = 'line_too_long' | 'invalid_utf8' | 'invalid_json' | 'unknown_property' |
  'invalid_value' | 'invalid_email' | 'invalid_username' | 'unknown_hash_format' | 'hash_too_expensive' |
  'unknown_pepper' | 'id_taken' | 'external_id_taken' | 'email_taken' | 'username_taken'

/** A line is not a valid record. `pointer` is a JSON pointer (RFC 6901). The error never contains a hash. */
export class RecordError extends Error {
  readonly reason: ImportRejectionReason
  readonly pointer: string

  constructor (reason: ImportRejectionReason, pointer: string, detail: string) {
    super(detail)
    this.reason = reason
    this.pointer = pointer
  }
}

/** The value of a property is of the wrong type or has a wrong form. */
export const invalid = (property: string, detail: string) =>
  new RecordError('invalid_value', `/${property}`, detail)
