import type { MailKindDeclaration } from '../capability.ts'

/** The kinds of mails. Each room adds its own. Each kind is a template in each language. */
export interface MailKinds {}
export type MailKind = keyof MailKinds

/** The kinds of all rooms. */
export type MailKindList = ReadonlyMap<MailKind, MailKindDeclaration>
