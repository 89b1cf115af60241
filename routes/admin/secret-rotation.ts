import { Type } from '@sinclair/typebox'
import { strict } from '../typed.ts'

/** The body of a request for a new secret, of a client or a webhook. */
export const secretRotation = strict({
  immediately: Type.Optional(Type.Boolean({
    description: 'Whether the older secrets become invalid now.', default: false
  }))
}, { examples: [{}, { immediately: true }] })
