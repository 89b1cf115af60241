import type { Config } from '../../src/config/config.ts'
import type { Language } from '../../src/http/language.ts'
import type { Problem } from '../../src/http/problem.ts'
import type { PageAssets } from './assets.ts'

/** How the operator presents the service: its name, and where the pages link to. */
export type Brand = Pick<Config['brand'], 'name' | 'supportUrl' | 'privacyUrl' | 'termsUrl'>

/** The facts about the service that the pages show. */
export interface PageContext {
  brand: Brand
  /** The files of the pages. Without a logo, the pages show the mark of Latchkey. */
  assets: PageAssets
  issuer: string
  /** The path of the issuer, under which the pages are. */
  basePath: string
  /** The URL of the application. */
  homeUrl: string | undefined
  /** Whether `/` is the start page of development. */
  hasStartPage: boolean
  /** The shortest password, in code points. */
  minLength: number
}

/** What happens after the sign-in: the request of a client that delegated the login, or nothing. */
export interface Continuation {
  /** What a link or a form of a page carries. */
  sealed: string
  clientName: string
  loginHint?: string | undefined
}

/** What a page is rendered from, in addition to the context. */
export interface PageState {
  language: Language
  /** The request of the client that delegated the login. */
  continuation?: Continuation | undefined
  /** What was typed into the form before, by field name. */
  typed: Readonly<Record<string, string>>
  /** Why the form was refused. */
  problem?: Problem | undefined
  requestId: string
}
