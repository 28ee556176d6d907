import { Command, CommanderError, Option } from 'commander'
import { targetsFromTexts } from './environment.ts'
import { type Override, showFound } from './issues.ts'
import { nearest } from './nearest.ts'
import { logFormats, logLevels } from './schema.ts'

/** What `generate` can write. */
export const products = ['prometheus-rules', 'alertmanager', 'grafana', 'kubernetes'] as const

export type Product = (typeof products)[number]

/** What the command line asks for. */
export type Request =
  /** Help or the version, to be printed. */
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'serve'; readonly configFile: string | undefined }
  | { readonly kind: 'demo'; readonly scenario: string | undefined; readonly list: boolean }
  | { readonly kind: 'check-config'; readonly path: string | undefined; readonly print: boolean }
  | {
      readonly kind: 'generate'
      readonly product: Product
      readonly configFile: string | undefined
      /** The folder to write to; absent: standard output. */
      readonly out: string | undefined
    }

export interface CommandLine {
  readonly request: Request
  /** The settings that flags give. */
  readonly flags: readonly Override[]
  /** One line for each misuse, in the form `flag: expected …, found …`. */
  readonly issues: readonly string[]
  /** One line that says how the command is called. */
  readonly usage: string
}

/** Options as commander hands them over: every occurrence of one with a value is kept. */
type Options = Readonly<Record<string, readonly string[] | boolean>>

/** What a flag with a value sets, by its long name. Those without a setting are read by their command. */
const settings: Readonly<Record<string, { readonly path: readonly string[]; list?: true }>> = {
  'web.listen-address': { path: ['web', 'listen'], list: true },
  target: { path: ['targets'], list: true },
  'log.level': { path: ['log', 'level'] },
  'log.format': { path: ['log', 'format'] },
}

/** Stands where no command could be made out; it is never run, for there are issues beside it. */
const refused: Request = { kind: 'serve', configFile: undefined }

const description = `A sidecar daemon beside vLLM: latency quantiles with bounds, GPU state, a health endpoint and alerts.

Flags win over the environment (VLLM_VITALS_…), the environment over the file, the file over defaults.`

/**
 * Returns what `args`, the command line behind the program's name, asks for. Nothing is thrown, printed or
 * ended: every misuse that can be told from the others is one line of `issues`.
 */
export function readCommandLine(args: readonly string[], version: string): CommandLine {
  let printed = ''
  let line: CommandLine | undefined
  const program = buildProgram({
    version,
    print: (text) => {
      printed += text
    },
    done: (found) => {
      line = found
    },
  })
  try {
    program.parse([...args], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) {
      return { request: { kind: 'text', text: printed }, flags: [], issues: [], usage: '' }
    }
    // With unknown flags and arguments allowed, commander stops at two misuses alone: a last flag that
    // lacks its value, and `help` for no command. What stands before it is read for its own mistakes.
    const last = args.at(-1) ?? ''
    const rest = readCommandLine(args.slice(0, -1), version)
    const issue = last.startsWith('-')
      ? `${last}: expected a value, found nothing`
      : `help: expected the name of a command, found ${showFound(last)}`
    // Help is not shown in place of the mistake.
    const request = rest.request.kind === 'text' ? refused : rest.request
    return { ...rest, request, issues: [...rest.issues, issue] }
  }
  if (line === undefined) throw new TypeError('expected a command to be chosen, found none')
  return line
}

function buildProgram(on: {
  readonly version: string
  readonly print: (text: string) => void
  readonly done: (line: CommandLine) => void
}): Command {
  const program = new Command('vllm-vitals')
    .description(description)
    .version(`vllm-vitals ${on.version}`, '--version', 'show the version')
    .exitOverride()
    .configureOutput({ writeOut: on.print, writeErr: () => {} })

  const serve = program.command('serve', { isDefault: true }).description('run the daemon')
  serve.addOption(valued('--config.file <PATH>', 'the configuration file; none is read without it'))
  addSettings(serve, Object.keys(settings))
  serve.action((options: Options) => {
    on.done(collect(serve, options, { kind: 'serve', configFile: single(options, 'config.file') }))
  })

  const demo = program
    .command('demo')
    .description('the whole daemon against a simulated vLLM and simulated GPUs, on 127.0.0.1:19400')
    .addOption(valued('--scenario <NAME>', 'what happens in it'))
    .option('--list', 'show the scenarios and end')
  addSettings(demo, ['web.listen-address', 'log.level', 'log.format'])
  demo.action((options: Options) => {
    const scenario = single(options, 'scenario')
    on.done(collect(demo, options, { kind: 'demo', scenario, list: options['list'] === true }))
  })

  const check = program
    .command('check-config')
    .description('validate a configuration: exit 0, or 78 with every mistake')
    .argument('[PATH]', 'the configuration file; without one, environment and flags are checked')
    .option('--print', 'show the effective configuration')
  addSettings(check, Object.keys(settings))
  check.action((_path: unknown, options: Options) => {
    const path = check.args.find((arg) => !isFlag(arg))
    on.done(
      collect(check, options, { kind: 'check-config', path, print: options['print'] === true }),
    )
  })

  const generate = program
    .command('generate')
    .description(`files for the tools around the daemon: ${products.join(', ')}`)
    .argument('[WHAT]', products.join(', '))
    .addOption(valued('--out <DIR>', 'write the files there; without it, to standard output'))
    .addOption(valued('--config.file <PATH>', 'the configuration file; none is read without it'))
  addSettings(generate, Object.keys(settings))
  generate.action((what: string | undefined, options: Options) => {
    on.done(collectGenerate(generate, options, what))
  })

  for (const command of [serve, demo, check, generate])
    command.allowUnknownOption().allowExcessArguments()
  program.addHelpText('after', () => `\nOptions of serve:\n${optionsHelp(serve)}`)
  return program
}

function valued(flags: string, text: string): Option {
  // Repeated flags are kept, so that a second one of a single flag can be refused, and not just win.
  return new Option(flags, text).argParser((value: string, before: string[] | undefined) => [
    ...(before ?? []),
    value,
  ])
}

function addSettings(command: Command, names: readonly string[]): void {
  const described: Readonly<Record<string, Option>> = {
    'web.listen-address': valued('--web.listen-address <HOST:PORT>', 'serve here; repeatable'),
    target: valued(
      '--target <[NAME=]URL>',
      'watch this server instead of those in the file; repeatable',
    ),
    'log.level': valued('--log.level <LEVEL>', logLevels.join(', ')),
    'log.format': valued('--log.format <FORMAT>', logFormats.join(', ')),
  }
  for (const name of names) {
    const option = described[name]
    if (option !== undefined) command.addOption(option)
  }
}

function collect(command: Command, options: Options, request: Request): CommandLine {
  const flags: Override[] = []
  const issues: string[] = []
  for (const option of command.options) {
    const values = options[option.attributeName()]
    if (values === undefined || typeof values === 'boolean') continue
    const flag = `--${option.name()}`
    const setting = settings[option.name()]
    if (values.length > 1 && setting?.list === undefined) {
      issues.push(`${flag}: expected once, found ${values.length} times`)
    }
    const swallowed = values.find(isSwallowed)
    if (swallowed !== undefined) {
      issues.push(`${flag}: expected a value, found ${showFound(swallowed)}`)
    } else if (option.name() === 'target') {
      const { value, issue } = targetsFromTexts(values, flag)
      flags.push({ path: ['targets'], value, origin: flag })
      if (issue !== undefined) issues.push(issue)
    } else if (setting !== undefined) {
      flags.push({ path: setting.path, value: setting.list ? values : values[0], origin: flag })
    }
  }
  issues.push(...surplus(command))
  return { request, flags, issues, usage: `usage: ${usageOf(command)}` }
}

function collectGenerate(
  command: Command,
  options: Options,
  what: string | undefined,
): CommandLine {
  const given = what === undefined || isFlag(what) ? undefined : what
  const product = products.find((name) => name === given)
  const line = collect(command, options, {
    kind: 'generate',
    product: product ?? products[0],
    configFile: single(options, 'config.file'),
    out: single(options, 'out'),
  })
  if (product !== undefined) return line
  const found = given === undefined ? 'nothing' : showFound(given)
  const issue = `generate: expected one of ${products.join(', ')}, found ${found}`
  return { ...line, issues: [issue, ...line.issues] }
}

/** What is on the command line that `command` does not know. */
function surplus(command: Command): readonly string[] {
  const issues: string[] = []
  const allowed = command.registeredArguments.length
  const knownFlags = command.options.map((option) => `--${option.name()}`)
  let seen = 0
  let before = ''
  for (const arg of command.args) {
    if (isFlag(arg)) {
      issues.push(surplusFlag(arg, [...knownFlags, '--help', '--version']))
    } else if (!isUnknownFlag(before)) {
      // What follows an unknown flag may be its value, and is no mistake of its own.
      seen += 1
      if (seen > allowed) issues.push(surplusArgument(command, arg))
    }
    before = arg
  }
  return issues
}

/** A single `-` is a name, of standard input in most programs. */
function isFlag(arg: string): boolean {
  return arg.startsWith('-') && arg.length > 1
}

function isUnknownFlag(arg: string): boolean {
  return isFlag(arg) && !arg.includes('=')
}

function surplusFlag(arg: string, known: readonly string[]): string {
  const [name = arg, ...value] = arg.split('=')
  if (known.includes(name)) {
    return `${name}: expected no value, found ${showFound(value.join('='))}`
  }
  const close = nearest(name, known)
  const hint = close === undefined ? '' : `, the nearest is ${close}`
  return `${name}: expected a known flag${hint}, found ${showFound(name)}`
}

function surplusArgument(command: Command, arg: string): string {
  if (command.name() !== 'serve') {
    return `${command.name()}: expected no further argument, found ${showFound(arg)}`
  }
  const names = (command.parent?.commands ?? []).map((other) => other.name())
  if (names.includes(arg)) {
    return `command: expected one, in front of all flags, found ${showFound(arg)} further on`
  }
  const close = nearest(arg, names)
  const hint = close === undefined ? '' : `, the nearest is ${close}`
  return `command: expected one of ${names.join(', ')}${hint}, found ${showFound(arg)}`
}

function single(options: Options, name: string): string | undefined {
  const values = options[attributeName(name)]
  return Array.isArray(values) ? values.find((value) => !isSwallowed(value)) : undefined
}

/** Whether a flag was given no value, or took the flag behind it for one. */
function isSwallowed(value: string): boolean {
  return value === '' || value.startsWith('--')
}

function attributeName(name: string): string {
  return new Option(`--${name} <VALUE>`).attributeName()
}

function usageOf(command: Command): string {
  return `vllm-vitals ${command.name()} ${command.usage()} (see vllm-vitals ${command.name()} --help)`
}

function optionsHelp(command: Command): string {
  const help = command.createHelp()
  const options = help.visibleOptions(command)
  const width = Math.max(...options.map((option) => help.optionTerm(option).length))
  return options
    .map(
      (option) => `  ${help.optionTerm(option).padEnd(width)}  ${help.optionDescription(option)}\n`,
    )
    .join('')
}
