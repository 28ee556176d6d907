import { setTimeout as delay } from 'node:timers/promises'

/** The daemon's only way to know or to wait for time. Tests put a manual clock in its place. */
export interface Clock {
  /** Wall-clock time as Unix milliseconds: for stamps that people read, never for elapsed time. */
  nowMs(): number
  /** Milliseconds since an arbitrary start, never going back: for intervals, windows and deadlines. */
  monotonicMs(): number
  /** Resolves after `ms`, or as soon as `signal` aborts; it never rejects. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

/** The machine's clocks. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep: async (ms, signal) => {
    try {
      // What is due already is a moment ago by the time it is asked for; newer Nodes warn of that.
      await delay(Math.max(0, ms), undefined, { signal })
    } catch (error) {
      // An aborted wait is the ordinary way for a loop to end.
      if (!signal.aborted) throw error
    }
  },
}
