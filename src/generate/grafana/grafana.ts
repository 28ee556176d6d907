import type { Config } from '../../config/schema.ts'
import { dashboardUids } from '../../rules/links.ts'
import type { GeneratedFile } from '../files.ts'
import { dashboardOf } from './board.ts'
import { fleetBoard } from './fleet.ts'
import { hostBoard } from './host.ts'
import { provisioningFiles } from './provisioning.ts'
import { sloBoard } from './slo.ts'

/** The dashboards, and the files by which Grafana finds them at its start. */
export function grafanaFiles(config: Config): readonly GeneratedFile[] {
  const boards = [hostBoard(config), fleetBoard(config), sloBoard(config)]
  return [
    ...boards.map((board) => ({
      path: `dashboards/${dashboardUids[board.name]}.json`,
      text: `${JSON.stringify(dashboardOf(board, config), null, 2)}\n`,
    })),
    ...provisioningFiles(),
  ]
}
