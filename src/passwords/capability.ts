import type { Capability } from '../capability.ts'
import { problems } from './problems.ts'

export const capability = { problems } satisfies Capability
