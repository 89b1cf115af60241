// Service clients and webhooks rotate their secrets by the same rule. Their statements stay apart, because
// they differ in what they store (a digest, a sealed secret), in what a deleted owner is, and in what
// follows.

/** How many secrets of an owner are valid at once: the second one only while it replaces the first. */
const maxValidSecrets = 2

export interface SecretRotation {
  /** Whether all older secrets end now. Otherwise the latest of them stays valid until the next rotation. */
  endsOlder: boolean
}

/** How many of the older secrets stay valid beside a new one. */
export const retainedSecrets = ({ endsOlder }: SecretRotation): number => endsOlder ? 0 : maxValidSecrets - 1
