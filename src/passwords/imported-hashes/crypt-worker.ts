import { hash } from 'node:crypto'
import { parentPort } from 'node:worker_threads'
import type { CryptResult, CryptTask, PhpassTask, ShaCryptTask } from './crypt-thread.ts'

const alphabet = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
// Step 22: the digest's bytes are encoded in groups of three. Each group follows from the one before by
// rotation.
const byteOrders = {
  sha256: { firstGroup: [0, 10, 20], rotation: [2, 0, 1], lastGroup: [31, 30] },
  sha512: { firstGroup: [0, 21, 42], rotation: [1, 2, 0], lastGroup: [63] }
}

// Ulrich Drepper, "Unix crypt using SHA-256 and SHA-512", version 0.6. The numbers in comments are its steps.
function shaCrypt ({ algorithm: digest, password, salt, rounds }: ShaCryptTask): string {
  const sum = (...parts: Buffer[]) => hash(digest, Buffer.concat(parts), 'buffer')
  const [passwordBytes, saltBytes] = [Buffer.from(password), Buffer.from(salt)]
  const { length } = passwordBytes
  const size = digest === 'sha256' ? 32 : 64
  const repeated = (block: Buffer, length: number) => Buffer.alloc(length, block)

  const b = sum(passwordBytes, saltBytes, passwordBytes) // 4 to 8
  const bits = [...length.toString(2)].reverse() // 11
  const bitBlocks = length > 0 ? bits.map(bit => bit === '1' ? b : passwordBytes) : []
  let a: Buffer = sum(passwordBytes, saltBytes, repeated(b, length), ...bitBlocks)
  const p = repeated(sum(repeated(passwordBytes, length * length)), length) // 13 to 16
  const saltRepeats = 16 + (a[0] ?? 0)
  const s = repeated(sum(repeated(saltBytes, saltBytes.length * saltRepeats)), saltBytes.length) // 17 to 20
  for (let round = 0; round < rounds; round++) { // 21
    const isOdd = round % 2 === 1
    a = sum(isOdd ? p : a, ...round % 3 > 0 ? [s] : [], ...round % 7 > 0 ? [p] : [], isOdd ? a : p)
  }
  return encode(a, size, byteOrders[digest])
}

type ByteOrder = typeof byteOrders['sha256']

function encode (bytes: Buffer, size: number, { firstGroup, rotation, lastGroup }: ByteOrder): string {
  let text = ''
  let group = firstGroup
  for (let index = 0; index < Math.floor(size / 3); index++) {
    text += encodeGroup(group.map(position => bytes[position] ?? 0))
    group = rotation.map(from => (group[from] ?? 0) + 1)
  }
  return text + encodeGroup(lastGroup.map(position => bytes[position] ?? 0))
}

/** Encodes up to three bytes, the last byte first, with the lowest six bits first. */
function encodeGroup (bytes: number[]): string {
  let word = bytes.reduce((word, value) => word * 256 + value, 0)
  let text = ''
  for (let left = Math.ceil(bytes.length * 8 / 6); left > 0; left--) {
    text += alphabet[word % 64]
    word = Math.floor(word / 64)
  }
  return text
}

/** The portable hash of phpass: MD5 in rounds. Each group has the next three bytes, the last one first. */
function phpass ({ password, salt, rounds }: PhpassTask): string {
  const passwordBytes = Buffer.from(password)
  let digest = hash('md5', Buffer.concat([Buffer.from(salt), passwordBytes]), 'buffer')
  const message = Buffer.concat([digest, passwordBytes])
  for (let round = 0; round < rounds; round++) {
    digest.copy(message)
    digest = hash('md5', message, 'buffer')
  }
  let text = ''
  for (let start = 0; start < digest.length; start += 3) {
    text += encodeGroup([...digest.subarray(start, start + 3)].reverse())
  }
  return text
}

parentPort?.on('message', (task: CryptTask) => {
  const text = task.algorithm === 'phpass' ? phpass(task) : shaCrypt(task)
  parentPort?.postMessage({ id: task.id, text } satisfies CryptResult)
})
