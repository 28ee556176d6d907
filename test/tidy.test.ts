import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { describe, it } from 'node:test'
import { collectErrorCodes } from '../src/errors.ts'
import { repositoryRoot } from './repository.ts'
import { functionsOf, importsOf, isBalanced, maskSource, usesProcess } from './tidy/scan.ts'

const maxFileLines = 400
const maxFunctionLines = 60

const leaves = ['reading.ts', 'instruments.ts', 'units.ts', 'clock.ts', 'errors.ts']
// The core is told the time, so the leaf with the clocks is not among its own.
const coreLeaves = leaves.filter((leaf) => leaf !== 'clock.ts')

interface Unit {
  readonly kind: 'edge' | 'core' | 'leaf'
  /** Units it may import besides itself; `every` is all of them but main.ts. */
  readonly units: readonly string[] | 'every'
  readonly packages: readonly string[]
  /** Modules of Node without `node:`; `every` is all of them. */
  readonly node: readonly string[] | 'every'
}

/** What each unit may import: the table of the architecture. */
const table: Readonly<Record<string, Unit>> = {
  'main.ts': {
    kind: 'edge',
    units: [
      'config',
      'daemon.ts',
      'demo',
      'generate',
      'heap.ts',
      'log.ts',
      'notify.ts',
      'reload.ts',
      ...leaves,
    ],
    packages: ['pino', 'commander'],
    node: 'every',
  },
  'daemon.ts': { kind: 'edge', units: 'every', packages: [], node: 'every' },
  'watch.ts': {
    kind: 'edge',
    units: ['config', 'sources', 'exposition', 'dialects', 'log.ts', ...leaves],
    packages: [],
    node: [],
  },
  'prober.ts': {
    kind: 'edge',
    units: ['config', 'sources', 'log.ts', ...leaves],
    packages: [],
    node: [],
  },
  'reload.ts': {
    kind: 'edge',
    units: ['config', 'daemon.ts', 'log.ts', 'notify.ts', ...leaves],
    packages: [],
    node: [],
  },
  'heap.ts': { kind: 'edge', units: [], packages: [], node: ['v8'] },
  'log.ts': { kind: 'edge', units: leaves, packages: ['pino'], node: 'every' },
  'notify.ts': { kind: 'edge', units: leaves, packages: [], node: 'every' },
  config: {
    kind: 'edge',
    units: ['sources', 'rules', 'web', 'push', ...leaves],
    packages: ['zod', 'yaml', 'commander'],
    node: ['fs', 'fs/promises', 'path', 'url', 'process'],
  },
  generate: {
    kind: 'edge',
    units: ['config', 'rules', 'signals', ...leaves],
    packages: ['yaml', '@grafana'],
    node: ['fs/promises', 'path'],
  },
  sources: {
    kind: 'edge',
    units: ['exposition', 'dialects', ...leaves],
    packages: ['undici', 'node-nvidia-smi', 'zod'],
    node: 'every',
  },
  push: {
    kind: 'edge',
    units: ['sources', 'snapshot.ts', 'signals', 'rules', 'log.ts', ...leaves],
    packages: ['zod'],
    node: ['net'],
  },
  demo: { kind: 'edge', units: leaves, packages: [], node: 'every' },
  web: {
    kind: 'edge',
    units: ['snapshot.ts', 'finding.ts', 'signals', 'rules', ...leaves],
    packages: ['fastify', 'prom-client', 'zod'],
    node: ['crypto', 'fs/promises', 'http', 'net', 'stream'],
  },
  exposition: { kind: 'core', units: coreLeaves, packages: [], node: [] },
  dialects: { kind: 'core', units: ['exposition', ...coreLeaves], packages: ['zod'], node: [] },
  window: { kind: 'core', units: coreLeaves, packages: [], node: [] },
  signals: { kind: 'core', units: ['window', ...coreLeaves], packages: [], node: [] },
  rules: { kind: 'core', units: ['signals', 'window', ...coreLeaves], packages: ['zod'], node: [] },
  diagnosis: {
    kind: 'core',
    units: ['snapshot.ts', 'finding.ts', 'signals', 'window', ...coreLeaves],
    packages: [],
    node: [],
  },
  'finding.ts': { kind: 'core', units: [], packages: [], node: [] },
  'snapshot.ts': {
    kind: 'core',
    units: ['window', 'signals', 'rules', 'finding.ts', ...coreLeaves],
    packages: [],
    node: [],
  },
  'describe.ts': {
    kind: 'core',
    units: ['window', 'signals', 'rules', 'snapshot.ts', ...coreLeaves],
    packages: [],
    node: [],
  },
  'evaluate.ts': {
    kind: 'core',
    units: ['window', 'signals', 'rules', 'diagnosis', 'describe.ts', 'snapshot.ts', ...coreLeaves],
    packages: [],
    node: [],
  },
  'reading.ts': { kind: 'leaf', units: leaves, packages: [], node: [] },
  'instruments.ts': { kind: 'leaf', units: leaves, packages: [], node: [] },
  'units.ts': { kind: 'leaf', units: leaves, packages: ['zod'], node: [] },
  'errors.ts': { kind: 'leaf', units: leaves, packages: [], node: [] },
  'clock.ts': { kind: 'leaf', units: leaves, packages: [], node: ['timers/promises'] },
}

// Both are started by themselves: the program, and the writer of the generated files.
const entries = ['main.ts', 'config/describe.ts']
// What others compute, kept to be compared with in tests and benchmarks.
const references = ['window/straight-line.ts']
// Besides the entries: a group of processes can be killed by way of `process` alone, the program that the
// demonstration writes runs with the Node that runs the demonstration, and the log goes to stdout.
const processUsers = [...entries, 'sources/run-program.ts', 'demo/smi-program.ts', 'log.ts']
const forbiddenNames = ['utils', 'util', 'helpers', 'helper', 'types', 'index', 'common', 'misc']

interface SourceFile {
  /** Below the folder it was read from, with forward slashes. */
  readonly path: string
  readonly text: string
  readonly masked: string
}

const sources = readSources('src')
const tests = readSources('test')
const everything = [...sources, ...tests]
const paths = new Set(sources.map((file) => file.path))

function readSources(folder: string): readonly SourceFile[] {
  const root = join(repositoryRoot, folder)
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !path.startsWith('fixtures/'))
    .sort()
    .map((path) => {
      const text = readFileSync(join(root, path), 'utf8')
      return { path, text, masked: maskSource(text) }
    })
}

function unitOf(path: string): string {
  return path.split('/')[0] ?? path
}

/** The path below src/ that `specifier` names in `file`. */
function resolved(file: string, specifier: string): string {
  return relative('/', join('/', dirname(file), specifier))
}

/** What is wrong with one import, or `undefined`. */
function complaint(path: string, specifier: string): string | undefined {
  const unit = table[unitOf(path)]
  if (unit === undefined) return `expected a unit of the table, found ${unitOf(path)}`
  if (specifier.startsWith('.')) {
    const target = unitOf(resolved(path, specifier))
    if (target === unitOf(path)) return undefined
    const allowed = unit.units === 'every' ? target !== 'main.ts' : unit.units.includes(target)
    return allowed ? undefined : `may not import the unit ${target}`
  }
  if (specifier.startsWith('node:')) {
    const name = specifier.slice('node:'.length)
    return unit.node === 'every' || unit.node.includes(name)
      ? undefined
      : `may not import ${specifier}`
  }
  const name = specifier.split('/')[0] ?? specifier
  return unit.packages.includes(name) ? undefined : `may not import the package ${name}`
}

function localImports(file: SourceFile): readonly string[] {
  return importsOf(file.text)
    .filter((specifier) => specifier.startsWith('.'))
    .map((specifier) => resolved(file.path, specifier))
}

const graph = new Map(sources.map((file) => [file.path, localImports(file)]))

function reachableFrom(starts: readonly string[]): ReadonlySet<string> {
  const seen = new Set<string>()
  const open = [...starts]
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    if (seen.has(path)) continue
    seen.add(path)
    open.push(...(graph.get(path) ?? []))
  }
  return seen
}

function assertNone(complaints: readonly string[]): void {
  assert.equal(complaints.length, 0, `\n${complaints.join('\n')}`)
}

describe('the import table', () => {
  const rows: readonly (readonly [string, string, boolean])[] = [
    ['window/ring.ts', '../reading.ts', true],
    ['window/ring.ts', './histogram.ts', true],
    ['window/ring.ts', '../clock.ts', false],
    ['window/ring.ts', '../signals/signal.ts', false],
    ['window/ring.ts', 'node:fs', false],
    ['sources/loop.ts', '../clock.ts', true],
    ['sources/loop.ts', '../daemon.ts', false],
    ['web/server.ts', 'fastify', true],
    ['web/server.ts', 'undici', false],
    ['daemon.ts', './main.ts', false],
    ['stray/thing.ts', './other.ts', false],
  ]
  for (const [file, specifier, allowed] of rows) {
    it(`${allowed ? 'lets' : 'does not let'} ${file} import ${specifier}`, () => {
      assert.equal(complaint(file, specifier) === undefined, allowed)
    })
  }

  it('is kept by every file of src', () => {
    assertNone(
      sources.flatMap((file) =>
        importsOf(file.text).flatMap((specifier) => {
          const wrong = complaint(file.path, specifier)
          return wrong === undefined ? [] : [`src/${file.path} ${wrong}`]
        }),
      ),
    )
  })

  it('names only files that are there', () => {
    const missing = [...graph].flatMap(([path, targets]) =>
      targets
        .filter((target) => !paths.has(target))
        .map((target) => `src/${path} imports ${target}`),
    )
    assertNone(missing)
  })

  it('lets no file touch the process but those that are named with a reason', () => {
    const others = sources.filter(
      (file) => !processUsers.includes(file.path) && usesProcess(file.text),
    )
    assertNone(others.map((file) => `src/${file.path} touches process`))
  })
})

describe('the files of src', () => {
  it('import each other without a cycle', () => {
    const cycles = [...graph].filter(([path, targets]) => reachableFrom(targets).has(path))
    assertNone(cycles.map(([path]) => `src/${path} imports itself by way of others`))
  })

  it('are all reached from an entry', () => {
    const reached = reachableFrom([...entries, ...references])
    assertNone(
      sources
        .filter((file) => !reached.has(file.path))
        .map((file) => `nothing imports src/${file.path}`),
    )
  })

  it(`have functions of at most ${maxFunctionLines} lines`, () => {
    assertNone(
      sources.flatMap((file) =>
        functionsOf(file.text)
          .filter((one) => one.lines > maxFunctionLines)
          .map((one) => `src/${file.path}:${one.line} ${one.name} has ${one.lines} lines`),
      ),
    )
  })
})

describe('all files', () => {
  it('are read rightly by the scanner: their brackets match', () => {
    assertNone(everything.filter((file) => !isBalanced(file.masked)).map((file) => file.path))
  })

  it(`have at most ${maxFileLines} lines`, () => {
    const long = everything.filter((file) => file.text.split('\n').length - 1 > maxFileLines)
    assertNone(long.map((file) => `${file.path} has ${file.text.split('\n').length - 1} lines`))
  })

  it('have names that mean something', () => {
    const vague = everything.filter((file) =>
      forbiddenNames.includes(basename(file.path).replace(/\..*$/, '')),
    )
    assertNone(vague.map((file) => file.path))
  })

  it('export by name', () => {
    const byDefault = everything.filter((file) =>
      /\bexport\s+default\b|\bas\s+default\b/.test(file.masked),
    )
    assertNone(byDefault.map((file) => file.path))
  })
})

/** The files of the checkout that git keeps or would keep, or `undefined` outside a checkout. */
function checkoutFiles(): readonly string[] | undefined {
  if (!existsSync(join(repositoryRoot, '.git'))) return undefined
  try {
    const words = ['ls-files', '-z', '--cached', '--others', '--exclude-standard']
    const said = execFileSync('git', words, { cwd: repositoryRoot, encoding: 'utf8' })
    return said.split('\0').filter((path) => path !== '' && existsSync(join(repositoryRoot, path)))
  } catch {
    return undefined
  }
}

describe('the checkout', () => {
  const files = checkoutFiles()

  // Written in pieces, so that this file is not among the finds.
  const hosts =
    'registry.npmjs,registry.yarnpkg,gcr.io,ghcr.io,quay.io,docker.io,nvcr.io,registry.k8s,public.ecr,pypi.org,deb.debian'
  const folders = 'work/main,work/shared,work/.library,root/.npm,root/.cache,tmp/bash_jobs'
  const banned = [
    ...hosts
      .split(',')
      .map((host) => host.split('.'))
      .map(([a, b]) => `${a}.${b}`),
    ...folders.split(',').map((folder) => `/${folder}`),
  ]

  it('names no host of a registry and no path of one machine', {
    skip: files === undefined ? 'needs git and a checkout' : false,
  }, () => {
    const found = (files ?? []).flatMap((path) => {
      if (path === 'test/tidy.test.ts') return []
      const text = readFileSync(join(repositoryRoot, path), 'utf8')
      return banned.filter((word) => text.includes(word)).map((word) => `${path} names ${word}`)
    })
    assertNone(found)
  })
})

describe('the README', () => {
  it('lists every code of a failed collection', () => {
    const file = join(repositoryRoot, 'README.md')
    const text = existsSync(file) ? readFileSync(file, 'utf8') : ''
    assertNone(
      collectErrorCodes
        .filter((code) => !text.includes(`\`${code}\``))
        .map((code) => `expected \`${code}\` in README.md, found none`),
    )
  })
})
