/**
 * Keeps the daemon small beside the engine: imported first by the program, before anything is compiled.
 * With one target of eight engines it takes a third off the peak and a tenth off what stays resident
 * (`npm run bench:footprint` prints both); what it costs is speed that a scrape a second does not need.
 */
import { setFlagsFromString } from 'node:v8'

// undici's parser is WebAssembly: compiling it a second time, optimised, takes 40 MiB for a moment.
setFlagsFromString('--liftoff-only')
// The heap is collected earlier, and code that is not run for a while is let go.
setFlagsFromString('--optimize-for-size')
