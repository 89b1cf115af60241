import type { Answer } from '../client.ts'
import { jsonOutcome } from './outcomes.ts'
import type { EndUser, Party, RegisteredClient } from './parties.ts'

/** A provider, and its clients and users, which both providers know by the same ids. */
export interface World {
  party: Party
  /** A web client with `client_secret_basic`. */
  orders: RegisteredClient
  /** A web client with `client_secret_post`. */
  reports: RegisteredClient
  /** A public native client. */
  phone: RegisteredClient
  otherAccount: EndUser
  resource: string
}

/** What the service answers on purpose, and why. */
export interface Difference { ours: string, because: string }

/** A request to both providers. */
export interface Case {
  name: string
  /** Sends the request, and says in words what it leads to. */
  run: (world: World) => Promise<string>
  /** What it leads to at the oracle, and at the service unless there is a difference. */
  expected: string
  difference?: Difference
}

/** A request that is answered with JSON. */
export type JsonRow = [
  name: string, send: (world: World) => Promise<Answer>, expected: string, difference?: Difference | undefined
]

/** The case of a request that is answered with JSON. */
export const toJsonCase = ([name, send, expected, difference]: JsonRow): Case => ({
  name,
  expected,
  ...difference && { difference },
  run: async world => jsonOutcome(await send(world))
})
