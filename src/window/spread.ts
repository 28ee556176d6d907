import type { HistogramDelta } from './histogram.ts'

/** Cells of equal width into which every bucket but the first is cut. */
const CELLS = 16
/** Where the cubic of the first bucket begins, as a share of its edge: one over this. */
const FIRST_REACH = 20
/**
 * Cells of the first bucket below that, and the share of its observations they hold: so little that it
 * shows only where the mean says that most values lie near zero.
 */
const NEAR_ZERO_CELLS = 12
const NEAR_ZERO_SHARE = 0.05
const NEAR_ZERO_REACH = 400
/** No cell of a bucket that holds something is left empty, for a tilt could never fill it. */
const LEAST_SHARE = 1e-9

/** The cells of a histogram's buckets: what depends on the edges alone. */
export interface Grid {
  /** Lower edges of the cells, ascending from 0, and last the upper edge of the last cell. */
  readonly edges: Float64Array
  readonly middles: Float64Array
  /** `firstCell[b]` to `firstCell[b + 1]` are the cells of bucket `b`. */
  readonly firstCell: Int32Array
  /** Positions of the cells' edges in their bucket on the scale of the logarithm, 0 to 1. */
  readonly positions: Float64Array
  /** Logarithms of the knots of the cubic: the first bucket's lower end, then each upper edge. */
  readonly knots: Float64Array
}

/** Where the observations of a histogram are thought to lie: how many in each cell of its buckets. */
export interface Spread {
  readonly grid: Grid
  /** Observations by bucket, as in the delta. The cells of a bucket hold just as many together. */
  readonly counts: ArrayLike<number>
  /** Observations by cell; evenly spread in it. */
  readonly masses: Float64Array
}

/**
 * Spreads the observations of each bucket over its cells, after a monotone cubic through the cumulative
 * counts over the logarithm of the value. The cubic begins at a twentieth of the first edge and ends at
 * twice the last one; the slopes are Fritsch and Butland's, which keep Fritsch and Carlson's condition.
 *
 * - no finite edge, or a first edge that is not positive: `undefined`, for there is no logarithm
 */
export function spreadOf(delta: HistogramDelta): Spread | undefined {
  const { bounds, counts } = delta
  if (!((bounds[0] ?? 0) > 0)) return undefined
  const grid = gridOf(bounds)
  const slopes = monotoneSlopes(grid.knots, counts)
  const masses = new Float64Array(grid.edges.length - 1)
  for (let bucket = 0; bucket <= bounds.length; bucket++) {
    const count = counts[bucket] ?? 0
    if (count === 0) continue
    // The cubic is that of the bucket alone, counted from its lower edge, for precision.
    const run = (grid.knots[bucket + 1] ?? 0) - (grid.knots[bucket] ?? 0)
    const rise = run * (slopes[bucket] ?? 0)
    const fall = run * (slopes[bucket + 1] ?? 0)
    const nearZero = bucket === 0 ? NEAR_ZERO_CELLS : 0
    const first = (grid.firstCell[bucket] ?? 0) + nearZero
    const end = grid.firstCell[bucket + 1] ?? 0
    let before = 0
    let total = 0
    for (let cell = first; cell < end; cell++) {
      const s = grid.positions[cell + 1] ?? 0
      const upTo = s * ((1 - s) * (rise * (1 - s) - fall * s) + count * s * (3 - 2 * s))
      const mass = Math.max(upTo - before, count * LEAST_SHARE)
      masses[cell] = mass
      total += mass
      before = upTo
    }
    const kept = nearZero > 0 ? 1 - NEAR_ZERO_SHARE : 1
    for (let cell = first; cell < end; cell++) {
      masses[cell] = ((masses[cell] ?? 0) * kept * count) / total
    }
    masses.fill((count * NEAR_ZERO_SHARE) / NEAR_ZERO_CELLS, first - nearZero, first)
  }
  return { grid, counts, masses }
}

/**
 * Returns the value below which `rank` observations lie, given the bucket to look into and how many lie
 * below that bucket. A rank outside the bucket gives its nearer end.
 */
export function valueAt(spread: Spread, bucket: number, below: number, rank: number): number {
  const { grid, masses } = spread
  const first = grid.firstCell[bucket] ?? 0
  const last = (grid.firstCell[bucket + 1] ?? 0) - 1
  let left = Math.max(rank - below, 0)
  let cell = first
  while (cell < last && left > (masses[cell] ?? 0)) {
    left -= masses[cell] ?? 0
    cell++
  }
  const lower = grid.edges[cell] ?? 0
  const upper = grid.edges[cell + 1] ?? 0
  return lower + (upper - lower) * Math.min(left / (masses[cell] ?? 1), 1)
}

/** Grids by the array of edges, which stays the same object while a page keeps its shape. */
const grids = new WeakMap<readonly number[], Grid>()

function gridOf(bounds: readonly number[]): Grid {
  const known = grids.get(bounds)
  if (known !== undefined) return known
  const made = makeGrid(bounds)
  grids.set(bounds, made)
  return made
}

function makeGrid(bounds: readonly number[]): Grid {
  const start = (bounds[0] ?? 0) / FIRST_REACH
  const ends = [start, ...bounds, 2 * (bounds.at(-1) ?? 0)]
  const knots = Float64Array.from(ends, Math.log)
  const buckets = bounds.length + 1
  const cells = NEAR_ZERO_CELLS + buckets * CELLS
  const edges = new Float64Array(cells + 1)
  const positions = new Float64Array(cells + 1)
  const firstCell = new Int32Array(buckets + 1)
  for (let i = 1; i <= NEAR_ZERO_CELLS; i++) {
    edges[i] = start * NEAR_ZERO_REACH ** ((i - NEAR_ZERO_CELLS) / (NEAR_ZERO_CELLS - 1))
  }
  for (let bucket = 0; bucket < buckets; bucket++) {
    const from = NEAR_ZERO_CELLS + bucket * CELLS
    const lower = ends[bucket] ?? 0
    const upper = ends[bucket + 1] ?? 0
    const run = Math.log(upper / lower)
    firstCell[bucket + 1] = from + CELLS
    for (let i = 1; i <= CELLS; i++) {
      // The first bucket spans more than a decade: its cells widen upwards, those of the others do not.
      const edge =
        bucket === 0 ? lower * Math.exp((run * i) / CELLS) : lower + ((upper - lower) * i) / CELLS
      edges[from + i] = i === CELLS ? upper : edge
      positions[from + i] = i === CELLS ? 1 : Math.log(edge / lower) / run
    }
  }
  const middles = new Float64Array(cells)
  for (let cell = 0; cell < cells; cell++) {
    middles[cell] = ((edges[cell] ?? 0) + (edges[cell + 1] ?? 0)) / 2
  }
  return { edges, middles, firstCell, positions, knots }
}

/** Slopes of the cumulative counts at the knots, such that the cubic between them never falls. */
function monotoneSlopes(knots: Float64Array, counts: ArrayLike<number>): Float64Array {
  const last = knots.length - 1
  const slopes = new Float64Array(last + 1)
  let run = (knots[1] ?? 0) - (knots[0] ?? 0)
  let secant = (counts[0] ?? 0) / run
  for (let i = 1; i < last; i++) {
    const nextRun = (knots[i + 1] ?? 0) - (knots[i] ?? 0)
    const nextSecant = (counts[i] ?? 0) / nextRun
    if (secant > 0 && nextSecant > 0) {
      const near = 2 * nextRun + run
      const far = nextRun + 2 * run
      slopes[i] = (near + far) / (near / secant + far / nextSecant)
    }
    if (i === 1) slopes[0] = endSlope(run, nextRun, secant, nextSecant)
    if (i === last - 1) slopes[last] = endSlope(nextRun, run, nextSecant, secant)
    run = nextRun
    secant = nextSecant
  }
  return slopes
}

/** The slope at an end: three points, kept from turning the cubic down. */
function endSlope(run: number, nextRun: number, secant: number, nextSecant: number): number {
  const slope = ((2 * run + nextRun) * secant - run * nextSecant) / (run + nextRun)
  return Math.min(Math.max(slope, 0), 3 * secant)
}
