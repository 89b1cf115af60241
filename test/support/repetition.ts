import { setTimeout as pause } from 'node:timers/promises'

const isUnavailable = (answer: number | { status: number }) => (typeof answer === 'number' ? answer : answer.status) === 503

/**
 * Sends a request again while it is answered with 503, as a client does that honours `Retry-After`. A
 * statement waits 250 ms at most for the row lock of another one, so among racing requests 503
 * `database_unavailable` is a legitimate answer, which has changed nothing.
 */
export async function repeatUnavailable<Answer extends number | { status: number }> (send: () => Promise<Answer>): Promise<Answer> {
  for (;;) {
    const answer = await send()
    if (!isUnavailable(answer)) return answer
    await pause(20)
  }
}
