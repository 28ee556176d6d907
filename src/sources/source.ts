import type { HealthProbe, Reading } from '../reading.ts'

/** One way of reading the world. A source of one target or, for GPUs, of the host. */
export interface Source {
  /** The target's name: the label `target`. */
  readonly target: string
  readonly kind: 'engine' | 'gpu'

  /**
   * Reads the world once. At most one call is under way at a time.
   *
   * - what can fail in operation: rejects with `CollectError`
   * - `signal` aborts: rejects at once, with anything
   * - anything else it rejects with is a programming error
   */
  collect(signal: AbortSignal): Promise<Reading>

  /**
   * Asks the producer's own health endpoint, where it has one. Runs beside `collect`; a failure is part
   * of the answer, so that it never spoils the collection.
   */
  probe?(signal: AbortSignal): Promise<HealthProbe>

  /** Says that the producer was restarted: what is fixed for one process life is to be asked again. */
  newLife(): void

  /** Frees what the source holds. Called once, after the last collection. */
  close(): Promise<void>
}
