/** The answers to "should traffic go there", from best to worst. */
export const healthStatuses = ['healthy', 'degraded', 'unknown', 'unhealthy'] as const

export type HealthStatus = (typeof healthStatuses)[number]

/** What a target is doing. */
export const targetStates = [
  'serving',
  'idle',
  'loading',
  'sleeping',
  'stalled',
  'down',
  'unknown',
] as const

export type TargetState = (typeof targetStates)[number]

/** Returns the worst of `statuses`, or `otherwise` of none. */
export function worst(statuses: Iterable<HealthStatus>, otherwise: HealthStatus): HealthStatus {
  let rank = -1
  for (const status of statuses) rank = Math.max(rank, healthStatuses.indexOf(status))
  return healthStatuses[rank] ?? otherwise
}

/**
 * Folds the state of the GPU source and its firing alerts into one status: degraded at worst, because it
 * keeps nobody from serving.
 */
export function gpuSourceStatus(state: TargetState, firing: number): HealthStatus {
  if (firing > 0) return 'degraded'
  return state === 'serving' ? 'healthy' : 'unknown'
}

/**
 * Folds a target's state and its firing alerts into one status.
 *
 * Only what does not serve is unhealthy: an alert that fires, a critical one too, degrades, because a
 * load balancer that ejects every busy server leaves none.
 */
export function targetStatus(state: TargetState, firing: number): HealthStatus {
  switch (state) {
    case 'down':
    case 'stalled':
      return 'unhealthy'
    case 'loading':
    case 'sleeping':
    case 'unknown':
      return 'unknown'
    case 'serving':
    case 'idle':
      return firing > 0 ? 'degraded' : 'healthy'
  }
}
