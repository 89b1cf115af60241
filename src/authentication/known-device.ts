import { createHmac, timingSafeEqual } from 'node:crypto'
import { newId } from '../crypto/random.ts'
import { derive, type KeyEncryptionKeys } from '../crypto/sealing.ts'

/**
 * A device on which someone signed in before, with the times of the sign-ins. The latest account is the
 * first.
 */
export interface Device { id: string, accounts: Array<{ userId: string, since: Date }> }

/**
 * Derives the secrets that authenticate devices from the key-encryption keys. The first secret is for new
 * devices, and all of them verify.
 */
export const deviceSecrets = (keys: KeyEncryptionKeys): [Buffer, ...Buffer[]] => {
  const [first, ...others] = keys
  return [derive(first, 'device'), ...others.map(key => derive(key, 'device'))]
}

// version 1 | device id 16 | per account: user id 16, since in milliseconds 6 | HMAC-SHA-256 32
const version = 1
const headerBytes = 17
const accountBytes = 22
const macBytes = 32
const maxAccounts = 4
/** Seconds for which a device is known after a sign-in. */
export const deviceLifetimeSeconds = 180 * 86_400

// An import may bring user ids of any UUID version.
const encodeId = (id: string) => Buffer.from(id.replaceAll('-', ''), 'hex')
const decodeId = (bytes: Buffer, offset: number) =>
  bytes.toString('hex', offset, offset + 16).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')

const mac = (secret: Buffer, content: Buffer) => createHmac('sha256', secret).update(content).digest()

/** Encodes a device as text that cannot be forged without the secret. */
export function encodeDevice (secret: Buffer, { id, accounts }: Device): string {
  const content = Buffer.alloc(headerBytes + accounts.length * accountBytes)
  content[0] = version
  content.set(encodeId(id), 1)
  for (const [index, { userId, since }] of accounts.entries()) {
    const offset = headerBytes + index * accountBytes
    content.set(encodeId(userId), offset)
    content.writeUIntBE(since.getTime(), offset + 16, 6)
  }
  return Buffer.concat([content, mac(secret, content)]).toString('base64url')
}

/** Reads what `encodeDevice` wrote. Returns undefined for anything else. */
export function decodeDevice (text: string, secrets: readonly Buffer[]): Device | undefined {
  const bytes = Buffer.from(text, 'base64url')
  const count = (bytes.length - headerBytes - macBytes) / accountBytes
  if (!Number.isInteger(count) || count < 1 || count > maxAccounts) return undefined
  if (bytes[0] !== version || bytes.toString('base64url') !== text) return undefined
  const content = bytes.subarray(0, -macBytes)
  const tag = bytes.subarray(-macBytes)
  if (!secrets.some(secret => timingSafeEqual(mac(secret, content), tag))) return undefined
  return {
    id: decodeId(bytes, 1),
    accounts: Array.from({ length: count }, (_, index) => {
      const offset = headerBytes + index * accountBytes
      return { userId: decodeId(bytes, offset), since: new Date(bytes.readUIntBE(offset + 16, 6)) }
    })
  }
}

/** Adds a sign-in at `now` to a device. The device remembers the last four accounts. */
export const recordSignIn = (device: Device | undefined, userId: string, now: Date): Device => ({
  id: device?.id ?? newId(),
  accounts: [
    { userId, since: now },
    ...device?.accounts.filter(account => account.userId !== userId) ?? []
  ].slice(0, maxAccounts)
})

/** Removes an account from a device. Returns undefined if the device has no other account. */
export function forgetAccount (device: Device, userId: string): Device | undefined {
  const accounts = device.accounts.filter(account => account.userId !== userId)
  return accounts.length === 0 ? undefined : { ...device, accounts }
}

/** The user, the database's time, and the time since when the user's devices count as known. */
export interface DeviceSubject { userId: string, now: Date, knownFrom: Date | null }

/**
 * Whether someone signed in to the account on this device, within `deviceLifetimeSeconds` and not before
 * `knownFrom`, the time when all of the user's devices were forgotten.
 */
export const isKnownDevice = ({ accounts }: Device, { userId, now, knownFrom }: DeviceSubject): boolean =>
  accounts.some(account => account.userId === userId &&
    account.since.getTime() + deviceLifetimeSeconds * 1_000 > now.getTime() &&
    (knownFrom === null || account.since >= knownFrom))
