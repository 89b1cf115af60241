import fc from 'fast-check'
import { build, newUser, type Service } from '../support/app.ts'
import type { Browser } from '../support/client.ts'
import {
  authorizationOf, authorize, codeIn, isActive, newClient, newVerifier, redeem, requestTokens, submit,
  type TokenPair
} from '../support/delegation.ts'
import { scale } from '../support/soak.ts'
import { t } from '../support/test.ts'

// A late replay goes to the instance without a grace period.
const service = await build(t, { REFRESH_REPLAY_GRACE: '60s' })
const second = await build(t, { REFRESH_REPLAY_GRACE: '60s' }, { url: service.url })
const strict = await build(t, { REFRESH_REPLAY_GRACE: '0s' }, { url: service.url })
const instances = [service, second] as const
const client = await newClient(service)

/** A code, as the model knows it. */
interface ModelCode {
  code: string
  verifier: string
  /** Whether it can still be redeemed. */
  isOpen: boolean
  tokens: TokenPair | undefined
  /** Whether its session must have ended. */
  hasEnded: boolean
}

const actionKinds = ['redeem', 'redeem', 'replay', 'wrong verifier', 'sign out', 'revoke consent'] as const
const action = fc.record({
  kind: fc.constantFrom(...actionKinds),
  /** Which code, counted from the newest. */
  age: fc.nat(2),
  instance: fc.constantFrom(0, 1)
})
type Action = typeof action extends fc.Arbitrary<infer Value> ? Value : never
// The actions of a round are sent at the same time. Before each round, the client gets a new code.
const history = fc.array(fc.array(action, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 4 })

interface Actors { browser: Browser, account: Browser }

/** Sends an action. Returns the tokens that it got. */
async function send (
  { kind, instance }: Action, { code, verifier }: ModelCode, { browser, account }: Actors
): Promise<TokenPair | undefined> {
  const on: Service = instances[instance === 0 ? 0 : 1]
  const present = async (to: Service, codeVerifier: string): Promise<TokenPair | undefined> => {
    const { status, body } = await redeem(to, client, { code, verifier: codeVerifier })
    return status === 200 ? body : undefined
  }
  switch (kind) {
    case 'redeem': return await present(on, verifier)
    case 'replay': return await present(strict, verifier)
    case 'wrong verifier': return await present(on, newVerifier().verifier)
    case 'sign out':
      browser.app = on.app
      await submit(browser, '/sign-out', {})
      return undefined
    case 'revoke consent':
      account.app = on.app
      await account.delete(`/v1/me/consents/${client.id}`)
      return undefined
  }
}

/** What was sent at the same time, and got these tokens. */
interface Round { sent: Array<{ kind: Action['kind'], target: ModelCode, tokens: TokenPair | undefined }> }

function assertRule (holds: boolean, violation: string) {
  if (!holds) throw new Error(violation)
}

/** Checks what a round did to a code, and brings the code up to date. */
function judge (code: ModelCode, { sent }: Round, endsAll: boolean): void {
  const { isOpen: wasOpen, tokens: tokensBefore } = code
  const ofCode = sent.filter(({ target }) => target === code)
  const won = ofCode.filter(({ tokens }) => tokens)
  const isPresented = ofCode.some(({ kind }) => kind === 'redeem' || kind === 'replay')
  assertRule(won.every(({ kind }) => kind !== 'wrong verifier'), 'a wrong verifier was accepted')
  assertRule(won.length <= 1, 'a code was redeemed twice')
  assertRule(wasOpen || won.length === 0, 'a code was redeemed that was used or revoked')
  assertRule(!wasOpen || !isPresented || endsAll || won.length === 1, 'a code was lost')
  if (won[0]) Object.assign(code, { isOpen: false, tokens: won[0].tokens })
  if (endsAll) Object.assign(code, { isOpen: false, hasEnded: true })
  // The replay came after the response to the redemption.
  if (tokensBefore && ofCode.some(({ kind }) => kind === 'replay')) code.hasEnded = true
}

/** Runs a history of a new user. */
async function run (rounds: Action[][]): Promise<void> {
  const user = newUser()
  const [browser, account] = [service.browser(), service.browser()]
  account.accessToken = (await account.post('/v1/auth/register', user)).body.access_token
  const codes: ModelCode[] = []
  for (const actions of rounds) {
    const attempt = authorizationOf(client)
    const code = codeIn(await authorize(browser, attempt, user))
    const { verifier } = attempt
    const newest: ModelCode = { code, verifier, isOpen: true, tokens: undefined, hasEnded: false }
    codes.unshift(newest)
    const sent = await Promise.all(actions.map(async action => {
      const target = codes[action.age] ?? newest
      return { kind: action.kind, target, tokens: await send(action, target, { browser, account }) }
    }))
    const has = (...kinds: string[]) => sent.some(({ kind }) => kinds.includes(kind))
    const endsAll = has('sign out', 'revoke consent')
    for (const each of codes) judge(each, { sent }, endsAll)
    const redeemed = sent.filter(({ tokens }) => tokens).map(({ target }) => target)
    // The next session of the client in the browser replaces the one before.
    const replaced = redeemed.length === 0 ? [] : codes.filter(each => !redeemed.includes(each))
    for (const each of replaced) each.hasEnded = true

    const states = await Promise.all(codes.map(async each => ({
      each, isAlive: each.tokens !== undefined && await isActive(second, each.tokens.access_token)
    })))
    const alive = states.filter(({ isAlive }) => isAlive)
    assertRule(alive.every(({ each }) => !each.hasEnded), 'a session is active after its end')
    assertRule(alive.length <= 1, 'the client has two sessions in a browser')
    const mustLive = redeemed.length === 1 && !endsAll && !has('replay')
    assertRule(!mustLive || alive.length === 1, 'a session has ended without a reason')
    for (const { each, isAlive } of states) if (each.tokens && !isAlive) each.hasEnded = true
  }
  for (const { hasEnded, tokens } of codes) {
    if (!hasEnded || !tokens) continue
    const { status } = await requestTokens(service, client, {
      grant_type: 'refresh_token', refresh_token: tokens.refresh_token
    })
    assertRule(status === 400, 'an ended session was refreshed')
  }
}

t.test('in any history, a code is redeemed once, and an ended session stays ended', async t => {
  await fc.assert(fc.asyncProperty(history, run), { numRuns: scale(60, 12) })
  t.pass('no history broke the rules')
})
