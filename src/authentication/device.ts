import { createHmac, timingSafeEqual } from 'node:crypto'
import { newId } from '../crypto/random.ts'
import { derive, type KeyEncryptionKeys } from '../crypto/sealing.ts'

/** A device that somebody signed in on: whose accounts, the latest first, and when. */
export interface Device { id: string, accounts: Array<{ userId: string, since: Date }> }

/** The secrets that authenticate devices, of the key-encryption keys: the first for new ones. */
export const deviceSecrets = (keys: KeyEncryptionKeys): [Buffer, ...Buffer[]] => {
  const [first, ...others] = keys
  return [derive(first, 'device'), ...others.map(key => derive(key, 'device'))]
}

// version 1 | device id 16 | per account: user id 16, since in milliseconds 6 | HMAC-SHA-256 32
const version = 1
const head = 17
const entry = 22
const tag = 32
const most = 4
/** Seconds that a device is known after a sign-in. */
export const lifetime = 180 * 86_400

// Of any version: the ids of users may come from elsewhere.
const bytesOf = (id: string) => Buffer.from(id.replaceAll('-', ''), 'hex')
const idAt = (bytes: Buffer, at: number) => bytes.toString('hex', at, at + 16).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')

const mac = (secret: Buffer, content: Buffer) => createHmac('sha256', secret).update(content).digest()

/** The device as text that nobody else can make. */
export function mint (secret: Buffer, { id, accounts }: Device): string {
  const content = Buffer.alloc(head + accounts.length * entry)
  content[0] = version
  content.set(bytesOf(id), 1)
  for (const [index, { userId, since }] of accounts.entries()) {
    content.set(bytesOf(userId), head + index * entry)
    content.writeUIntBE(since.getTime(), head + index * entry + 16, 6)
  }
  return Buffer.concat([content, mac(secret, content)]).toString('base64url')
}

/** Reads what `mint` made; undefined for anything else. */
export function parse (text: string, secrets: readonly Buffer[]): Device | undefined {
  const bytes = Buffer.from(text, 'base64url')
  const count = (bytes.length - head - tag) / entry
  if (!Number.isInteger(count) || count < 1 || count > most || bytes[0] !== version || bytes.toString('base64url') !== text) return undefined
  const content = bytes.subarray(0, -tag)
  if (!secrets.some(secret => timingSafeEqual(mac(secret, content), bytes.subarray(-tag)))) return undefined
  return {
    id: idAt(bytes, 1),
    accounts: Array.from({ length: count }, (_, index) => ({
      userId: idAt(bytes, head + index * entry),
      since: new Date(bytes.readUIntBE(head + index * entry + 16, 6))
    }))
  }
}

/** The device after a sign-in to an account at `now`: a new one where there was none. It remembers the last four accounts. */
export const signedIn = (device: Device | undefined, userId: string, now: Date): Device => ({
  id: device?.id ?? newId(),
  accounts: [{ userId, since: now }, ...device?.accounts.filter(account => account.userId !== userId) ?? []].slice(0, most)
})

/** The device without an account; undefined where it knew no other. */
export function without (device: Device, userId: string): Device | undefined {
  const accounts = device.accounts.filter(account => account.userId !== userId)
  return accounts.length === 0 ? undefined : { ...device, accounts }
}

/** Whether somebody signed in to the account on the device, not too long ago and not before `knownFrom`, when all of them were forgotten. */
export const knows = ({ accounts }: Device, userId: string, now: Date, knownFrom: Date | null): boolean =>
  accounts.some(account => account.userId === userId && account.since.getTime() + lifetime * 1_000 > now.getTime() && (knownFrom === null || account.since >= knownFrom))
