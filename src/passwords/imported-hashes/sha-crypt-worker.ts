import { hash } from 'node:crypto'
import { parentPort } from 'node:worker_threads'
import type { Answer, Task } from './sha-crypt.ts'

// Ulrich Drepper, "Unix crypt using SHA-256 and SHA-512", version 0.6; the numbers are those of its steps.

const alphabet = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
// Step 22: how the bytes of a digest are put together in threes, each a turn of the one before.
const orders = { sha256: { first: [0, 10, 20], turn: [2, 0, 1], end: [31, 30] }, sha512: { first: [0, 21, 42], turn: [1, 2, 0], end: [63] } }

function crypt ({ digest, password, salt, rounds }: Task): string {
  const sum = (...parts: Buffer[]) => hash(digest, Buffer.concat(parts), 'buffer')
  const [key, pinch] = [Buffer.from(password), Buffer.from(salt)]
  const size = digest === 'sha256' ? 32 : 64
  const repeated = (block: Buffer, length: number) => Buffer.alloc(length, block)

  const b = sum(key, pinch, key) // 4 to 8
  const bits = [...key.length.toString(2)].reverse() // 11
  let a: Buffer = sum(key, pinch, repeated(b, key.length), ...key.length > 0 ? bits.map(bit => bit === '1' ? b : key) : [])
  const p = repeated(sum(repeated(key, key.length * key.length)), key.length) // 13 to 16
  const s = repeated(sum(repeated(pinch, pinch.length * (16 + (a[0] ?? 0)))), pinch.length) // 17 to 20
  for (let round = 0; round < rounds; round++) { // 21
    const odd = round % 2 === 1
    a = sum(odd ? p : a, ...round % 3 > 0 ? [s] : [], ...round % 7 > 0 ? [p] : [], odd ? a : p)
  }
  return encode(a, size, orders[digest])
}

function encode (bytes: Buffer, size: number, { first, turn, end }: typeof orders['sha256']): string {
  let text = ''
  const add = (values: number[]) => {
    let word = values.reduce((word, value) => word * 256 + value, 0)
    for (let left = Math.ceil(values.length * 8 / 6); left > 0; left--) {
      text += alphabet[word % 64]
      word = Math.floor(word / 64)
    }
  }
  let three = first
  for (let group = 0; group < Math.floor(size / 3); group++) {
    add(three.map(index => bytes[index] ?? 0))
    three = turn.map(from => (three[from] ?? 0) + 1)
  }
  add(end.map(index => bytes[index] ?? 0))
  return text
}

parentPort?.on('message', (task: Task) => parentPort?.postMessage({ id: task.id, text: crypt(task) } satisfies Answer))
