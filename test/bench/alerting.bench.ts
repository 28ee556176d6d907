/**
 * Prints how long it takes from an injected overload, and from an engine that hangs, to the messages in Slack and
 * PagerDuty, with everything as it is shipped: default configuration, generated rules and routes, Prometheus at 15 s.
 * Takes some eight minutes.
 *
 *     npm run bench:alerting
 */
import { shipped, startAlertPath } from '../e2e/alert-path.ts'
import { storyOf, troubles, ways } from '../e2e/alert-story.ts'

const withinMs = 900_000

const path = await startAlertPath(shipped)
try {
  const rows = await Promise.all(
    ways.flatMap(([way, called]) =>
      Object.entries(troubles).map(async ([name, trouble]) => {
        const story = await storyOf(trouble, path, { way, withinMs })
        const { beginsMs } = trouble.host(path)
        const page = story.page === undefined ? undefined : (story.page.atMs - beginsMs) / 1_000
        const seconds = (value: number | undefined) =>
          value === undefined ? '–' : `${value.toFixed(0)} s`
        return [
          called,
          name,
          trouble.alert,
          seconds(story.toldAfterSeconds),
          seconds(page),
          seconds(story.overAfterSeconds),
        ]
      }),
    ),
  )
  const header = ['way', 'trouble', 'alert', 'in Slack', 'in PagerDuty', 'told that it is over']
  for (const row of [header, header.map(() => '---'), ...rows]) {
    process.stdout.write(`| ${row.join(' | ')} |\n`)
  }
  const lasted = (end: number) => `${end - shipped.beginSeconds} s`
  process.stdout.write(
    `Counted from the beginning of the trouble. The overload lasts ${lasted(shipped.overloadEndSeconds)}, and its queue longer; the hang ${lasted(shipped.hangEndSeconds)}.\n`,
  )
} finally {
  await path.stop()
}
