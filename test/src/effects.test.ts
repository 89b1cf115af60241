import { connect } from '../../src/database/database.ts'
import { createTopic } from '../../src/database/effects.ts'
import { build, newUser } from '../support/app.ts'
import { createDatabase } from '../support/postgres.ts'
import { t } from '../support/test.ts'

const topic = createTopic<string>('test')

t.test('the effects of a transaction follow its commit', async t => {
  const errors: unknown[] = []
  const url = await createDatabase(t)
  const db = connect({ url, onError: error => errors.push(error) })
  t.teardown(async () => await db.end())
  const received: string[] = []
  db.subscribe(topic, value => { received.push(value) })

  await t.test('in their order, once it has committed', async t => {
    await db.transaction(async tx => {
      tx.publish(topic, 'first')
      await tx.query('select 1')
      tx.publish(topic, 'second')
      t.strictSame(received, [])
    })
    t.strictSame(received.splice(0), ['first', 'second'])
  })

  await t.test('and are dropped if it rolls back', async t => {
    await t.rejects(db.transaction(async tx => {
      tx.publish(topic, 'lost')
      throw new Error('no commit')
    }), { message: 'no commit' })
    await t.rejects(db.transaction(async tx => {
      tx.publish(topic, 'lost')
      await tx.query('select 1 / 0')
    }))
    t.strictSame(received, [])
  })

  await t.test('or if the commit itself fails', async t => {
    await db.query('create table deferred (id integer unique deferrable initially deferred)')
    await t.rejects(db.transaction(async tx => {
      await tx.query('insert into deferred values (1), (1)')
      tx.publish(topic, 'lost')
    }), { code: '23505' })
    t.strictSame(received, [])
  })

  await t.test('outside of a transaction they happen at once', async t => {
    db.publish(topic, 'now')
    t.strictSame(received.splice(0), ['now'])
  })

  await t.test('a listener that throws stops neither the change nor the other listeners', async t => {
    db.subscribe(topic, () => { throw new Error('broken listener') })
    const others: string[] = []
    db.subscribe(topic, value => { others.push(value) })
    await db.transaction(async tx => { tx.publish(topic, 'change') })
    t.strictSame(others, ['change'])
    t.match(errors, [{ message: 'broken listener' }])
  })

  await t.test('a transaction ends when its listeners have, even if they use the database', async t => {
    const single = connect({ url, connections: 1 })
    t.teardown(async () => await single.end())
    const finished: string[] = []
    single.subscribe(topic, async value => {
      await single.query('select 1')
      finished.push(value)
    })
    await single.transaction(async tx => { tx.publish(topic, 'slow') })
    t.strictSame(finished, ['slow'])
  })

  await t.test('another connection pool hears nothing of them', async t => {
    const other = connect({ url })
    t.teardown(async () => await other.end())
    other.publish(topic, 'elsewhere')
    t.strictSame(received.splice(0), ['change'])
  })
})

t.test('an instance refuses what it revoked without hearing of it from the database', async t => {
  const service = await build(t)
  // Nothing is announced, and the poll finds an empty log.
  await service.sql(`
    create function hide() returns trigger language plpgsql as $$ begin
      update revocations set transaction_id = '0' where id = new.id;
      return null;
    end $$`)
  await service.sql('create trigger hide after insert on revocations for each row execute function hide()')
  const browser = service.browser()
  const { body } = await browser.post('/v1/auth/register', newUser())
  const bearer = { authorization: `Bearer ${body.access_token as string}` }
  t.equal((await browser.get('/v1/auth/verify', bearer)).status, 204)
  t.equal((await browser.post('/v1/auth/logout', {})).status, 204)
  t.equal((await browser.get('/v1/auth/verify', bearer)).status, 401)
})
