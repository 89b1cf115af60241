import * as audit from './audit.ts'
import type { Database, Queryable, Statement } from './db.ts'
import { newsLives, posting } from './mails.ts'
import { invalidCredentials } from './problem.ts'
import { newId } from './random.ts'
import { ending, told } from './sessions/ending.ts'
import { isLive, live, sessionColumns, type Lifetimes, type LiveSession, type Row } from './sessions/session.ts'
import { takingBack, type Attempt } from './throttle.ts'
import { columns, type User } from './users.ts'
import { accountColumns, byAddress, type Account, type Credential, type Named } from './users/credential.ts'

export interface Opening {
  /** How the user proved who they are, in the words of RFC 8176. */
  methods: string[]
  remember: boolean
  /** What was counted against whoever tries; it is forgotten with the success. */
  attempt?: Attempt
  /** The mail that asks the owner whether it was them. */
  notice?: Buffer | undefined
}

/** How a session is to be opened, how long it lives, and how many the user may have. */
export interface SignIn extends Opening { lifetimes: Lifetimes, sessionLimit: number | undefined }

const insert = (lock: 'share' | 'no key update'): Statement => ({
  name: `sessions.open for ${lock}`,
  text: `
    with owner as (
      select * from users where id = $2 and password_version = $3 and disabled_at is null for ${lock}
    ), opened as (
      insert into sessions (id, user_id, methods, remembered, user_agent, ip, expires_at)
      select $1, id, $4, $5, left($8::jsonb ->> 'userAgent', 512), ($8::jsonb ->> 'ip')::inet, now() + make_interval(secs => $6) from owner
      returning *
    ), refreshable as (
      insert into refresh_tokens (session_id, access_expires_at) select id, least(now() + make_interval(secs => $7), expires_at) from opened
    ), audited as (${audit.insertion('login.succeeded', { user: 'user_id', session: 'id', detail: "jsonb_build_object('methods', methods)" }, '$8', 'opened')}
    ), asked as (${posting('$11', 'user_id', String(newsLives), 'opened')}
    ), ${takingBack('$9::bytea', '$10')}
    select ${sessionColumns}, now() as now
    from opened as sessions join owner as users on users.id = sessions.user_id`
})
// The lock on the user makes a change of the password wait for this session, or this for the change.
const besideOthers = insert('share')
const oneByOne = insert('no key update')

/**
 * Opens a session for a credential that was verified: every way to sign in ends here. Throws
 * `invalid_credentials` where the credential was changed, or the account disabled, since.
 */
export async function open (db: Queryable, credential: Credential, opening: Opening, lifetimes: Lifetimes, origin: audit.Origin): Promise<LiveSession> {
  return await start(db, besideOthers, credential, opening, lifetimes, origin)
}

/** As `open`; the user's oldest sessions end where they have more than `most`, and never is there one too many. */
export async function openWithin (db: Database, most: number | undefined, credential: Credential, opening: Opening, lifetimes: Lifetimes, origin: audit.Origin): Promise<LiveSession> {
  if (most === undefined) return await open(db, credential, opening, lifetimes, origin)
  return await db.transaction(async tx => await openIn(tx, most, credential, opening, lifetimes, origin))
}

/** As `openWithin`, in a transaction that does more. */
export async function openIn (tx: Queryable, most: number | undefined, credential: Credential, opening: Opening, lifetimes: Lifetimes, origin: audit.Origin): Promise<LiveSession> {
  const session = await start(tx, oneByOne, credential, opening, lifetimes, origin)
  if (most !== undefined) await tx.query(endSurplus, [session.user.id, most, audit.parameter(origin), lifetimes.refreshToken])
  return session
}

async function start (db: Queryable, statement: Statement, { userId, passwordVersion }: Credential, { methods, remember, attempt, notice }: Opening, lifetimes: Lifetimes, origin: audit.Origin): Promise<LiveSession> {
  const [row] = await db.query<Row>(statement, [
    newId(), userId, passwordVersion, methods, remember,
    remember ? lifetimes.rememberedSession : lifetimes.session, lifetimes.accessToken, audit.parameter(origin), attempt?.forgets ?? null, attempt?.takesBack ?? [], notice ?? null
  ])
  if (!row) throw invalidCredentials()
  return live(row, 1)
}

const endSurplus: Statement = {
  name: 'sessions.end-surplus',
  text: `
    with ${ending(`delete from refresh_tokens where session_id in (
      select session_id from refresh_tokens where session_id in (
        select id from sessions join refresh_tokens on session_id = id
        where user_id = $1 and expires_at > now() and last_used_at + make_interval(secs => $4) > now()
        order by created_at desc, id desc offset $2)
      order by session_id for update)`, "'session_limit'", '$3')} ${told}`
}

const select: Statement = {
  name: 'sessions.find',
  text: `select ${columns} from sessions join users on users.id = sessions.user_id where sessions.id = $1 and ${isLive}`
}

/** The user of a session that lives; undefined where it has ended or expired, or the user is disabled. */
export async function findUser (db: Queryable, sessionId: string): Promise<User | undefined> {
  const [user] = await db.query<User>(select, [sessionId])
  return user
}

const selectAccount: Statement = {
  name: 'sessions.find-account',
  text: `select sessions.authenticated_at, ${accountColumns} from sessions join users on users.id = sessions.user_id where sessions.id = $1 and ${isLive}`
}

/** The account of a session, and when its user proved who they are. */
export interface Holder extends Named { account: Account, authenticatedAt: Date }

/** The account of the user of a session that lives, to have its password checked; undefined as for `findUser`. */
export async function findAccount (db: Queryable, sessionId: string): Promise<Holder | undefined> {
  const [row] = await db.query<Account & { authenticated_at: Date }>(selectAccount, [sessionId])
  if (!row) return undefined
  const { authenticated_at: authenticatedAt, ...account } = row
  return { ...byAddress(account), account, authenticatedAt }
}
