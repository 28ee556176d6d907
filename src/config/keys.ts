import { z } from 'zod'
import { configSchema } from './schema.ts'

/** One setting that has a value of its own, found by walking the schema. */
export interface Setting {
  /** Its keys in the spelling of the file, from the outside in. */
  readonly path: readonly string[]
  /** Its schema without defaults and descriptions. */
  readonly schema: z.core.$ZodType
}

export const environmentPrefix = 'VLLM_VITALS_'

/** Returns the name of the environment variable that sets the setting at `path`. */
export function environmentName(path: readonly string[]): string {
  return environmentPrefix + path.join('_').toUpperCase()
}

/** Returns every setting of the configuration, in the order of the schema. A list is one setting. */
export function allSettings(): readonly Setting[] {
  const found: Setting[] = []
  collect(configSchema, [], found)
  return found
}

/** Returns the keys that a map at `path` may have; none where the schema has no map. */
export function knownKeys(path: readonly PropertyKey[]): readonly string[] {
  let schema = core(configSchema)
  for (const key of path) {
    if (schema instanceof z.ZodArray) {
      schema = core(schema.element)
    } else {
      const next = schema instanceof z.ZodObject ? schema.shape[String(key)] : undefined
      if (next === undefined) return []
      schema = core(next)
    }
  }
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : []
}

/** Whether `schema` takes values of the kind that `type` names, by itself or as one of its choices. */
export function takes(schema: z.core.$ZodType, type: 'boolean' | 'number' | 'map'): boolean {
  const inner = core(schema)
  if (inner instanceof z.ZodUnion) return inner.options.some((option) => takes(option, type))
  if (type === 'boolean') return inner instanceof z.ZodBoolean
  return type === 'number' ? inner instanceof z.ZodNumber : inner instanceof z.ZodObject
}

function collect(schema: z.core.$ZodType, path: readonly string[], into: Setting[]): void {
  const inner = core(schema)
  if (!(inner instanceof z.ZodObject)) {
    into.push({ path, schema: inner })
    return
  }
  for (const [key, value] of Object.entries(inner.shape)) collect(value, [...path, key], into)
}

/** Takes off what stands around a schema: defaults, optionality, and the step into the core's units. */
function core(schema: z.core.$ZodType): z.core.$ZodType {
  if (schema instanceof z.ZodPipe) return core(schema.in)
  if (schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional) {
    return core(schema.unwrap())
  }
  return schema
}
