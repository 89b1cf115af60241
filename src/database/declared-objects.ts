/** A trigger, and the statement of a migration that creates it. */
export interface DeclaredTrigger { name: string, table: string, sql: string }

/** The names of the objects that migrations create. A later migration may have dropped some of them. */
export interface DeclaredObjects { tables: string[], functions: string[], triggers: DeclaredTrigger[] }

const patterns = {
  table: /\bcreate table (?:if not exists )?(\w+)/gi,
  renamedTable: /\balter table (\w+) rename to (\w+)/gi,
  function: /\bcreate (?:or replace )?function (\w+)/gi,
  trigger: /\bcreate (?:or replace )?(?:constraint )?trigger (\w+)\s[^;]*?\bon (\w+)\b[^;]*/gi,
  droppedTrigger: /\bdrop trigger (?:if exists )?(\w+)/gi
}

/** Reads from the text of migrations which tables, functions and triggers they create. */
export function declaredObjects (migrations: ReadonlyArray<{ sql: string }>): DeclaredObjects {
  const tables = new Set<string>(['schema_migrations'])
  const functions = new Set<string>()
  const triggers = new Map<string, DeclaredTrigger>()
  for (const migration of migrations) {
    const sql = migration.sql.replace(/--.*$/gm, '')
    for (const [, name = ''] of sql.matchAll(patterns.table)) tables.add(name)
    for (const [, name = ''] of sql.matchAll(patterns.function)) functions.add(name)
    for (const [, name = ''] of sql.matchAll(patterns.droppedTrigger)) triggers.delete(name)
    for (const [text, name = '', table = ''] of sql.matchAll(patterns.trigger)) {
      triggers.set(name, { name, table, sql: text.replace(/\s+/g, ' ').trim() })
    }
    for (const [, from = '', to = ''] of sql.matchAll(patterns.renamedTable)) {
      tables.add(to)
      for (const trigger of triggers.values()) {
        if (trigger.table !== from) continue
        const renamed = trigger.sql.replace(new RegExp(`\\bon ${from}\\b`, 'i'), `on ${to}`)
        triggers.set(trigger.name, { ...trigger, table: to, sql: renamed })
      }
    }
  }
  return { tables: [...tables], functions: [...functions], triggers: [...triggers.values()] }
}
