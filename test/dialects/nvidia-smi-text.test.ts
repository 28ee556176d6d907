import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import {
  busKey,
  cutDocument,
  failureOf,
  lostBusIds,
  type SmiDocument,
  type SmiEnd,
  type SmiOutput,
} from '../../src/dialects/nvidia-smi-text.ts'
import { readGpus } from '../../src/dialects/nvidia-smi-values.ts'
import type { CollectError, CollectErrorCode } from '../../src/errors.ts'
import { treeOf } from '../../src/sources/nvidia-smi.ts'
import { smiFixture } from '../fakes/fake-nvidia-smi.ts'

const clean: SmiEnd = { kind: 'exited', exitCode: 0 }
const twoGpus = smiFixture('two-gpus.xml')

function output(stdout: string, rest: Partial<SmiOutput> = {}): SmiOutput {
  return { end: clean, stderr: '', ...rest, stdout }
}

function cut(stdout: string, rest: Partial<SmiOutput> = {}): SmiDocument {
  return cutDocument(output(stdout, rest), { processes: true })
}

function whole(document: SmiDocument): { xml: string; remarks: readonly string[] } {
  assert.ok(document.kind === 'whole', `expected a whole document, found ${document.kind}`)
  return { xml: document.xml, remarks: document.remarks }
}

function log(body: string): string {
  return `<nvidia_smi_log>${body}</nvidia_smi_log>`
}

function gpu(body: string): string {
  return log(`<gpu id="00000000:01:00.0">${body}</gpu>`)
}

/** Runs `work` and fails when it takes longer than anything linear would. */
function quick<T>(work: () => T): T {
  const startMs = performance.now()
  const result = work()
  const tookMs = performance.now() - startMs
  assert.ok(tookMs < 2_000, `expected an end within 2 s, found ${Math.round(tookMs)} ms`)
  return result
}

describe('cutting the document out of the output', () => {
  it('leaves the prolog out and keeps the root element', () => {
    const { xml, remarks } = whole(cut(twoGpus))
    assert.ok(xml.startsWith('<nvidia_smi_log>') && xml.endsWith('</nvidia_smi_log>'), xml)
    assert.deepEqual(remarks, [])
  })

  it('leaves the supported clocks out', () => {
    assert.ok(twoGpus.includes('supported_mem_clock'))
    assert.ok(!whole(cut(twoGpus)).xml.includes('supported'))
  })

  const nowhere: readonly (readonly [title: string, stdout: string, kind: SmiDocument['kind']])[] =
    [
      ['nothing', '', 'none'],
      ['blanks', ' \n\n', 'none'],
      ['another text', 'No devices were found\n', 'none'],
      ['a prolog alone', '<?xml version="1.0" ?>\n<!DOCTYPE nvidia_smi_log>\n', 'incomplete'],
      ['a root that does not end', '<nvidia_smi_log><gpu>', 'incomplete'],
      ['supported clocks that do not end', log('<supported_clocks>'), 'incomplete'],
      ['a process name that does not end', log('<process_name>a'), 'incomplete'],
      ['the end alone', '</nvidia_smi_log>', 'none'],
      ['another document', '<html><body>502</body></html>', 'none'],
    ]
  for (const [title, stdout, kind] of nowhere) {
    it(`finds none in ${title} (${kind})`, () => assert.equal(cut(stdout).kind, kind))
  }

  it('refuses a document that is cut at any hundredth of its length', () => {
    const end = twoGpus.trimEnd().length
    for (let percent = 1; percent < 100; percent += 1) {
      const part = twoGpus.slice(0, Math.floor((end * percent) / 100))
      assert.equal(failureFor(part).code, 'malformed', `at ${percent} %`)
    }
  })

  it('cuts anything without throwing, and what it finds is one root element', () => {
    const bits = ['<nvidia_smi_log>', '</nvidia_smi_log>', '<process_name>', '</process_name>']
    const more = ['<supported_clocks>', '</supported_clocks>', '<?xml ?>\n', '&', '<', 'x', '\n']
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...bits, ...more), { maxLength: 24 }), (parts) => {
        const document = cut(parts.join(''))
        if (document.kind !== 'whole') return
        assert.ok(document.xml.startsWith('<nvidia_smi_log>'))
        assert.ok(document.xml.endsWith('</nvidia_smi_log>'))
        assert.equal(document.xml.split('</nvidia_smi_log>').length, 2)
      }),
    )
  })
})

describe('names of processes', () => {
  const named = (name: string) =>
    gpu(
      `<processes><process_info><pid>7</pid><process_name>${name}</process_name></process_info></processes><uuid>GPU-1</uuid>`,
    )
  const rows: readonly (readonly [title: string, name: string, read: string])[] = [
    ['an unescaped & and <', 'a & b < c', 'a & b < c'],
    ['entities that the driver did write', 'a &amp; b &lt; c &quot;', 'a & b < c "'],
    ['an entity that nobody declared', '&xxe;', '&xxe;'],
    ['a character reference', '&#65;', '&#65;'],
    ['elements', '<uuid>GPU-2</uuid>', '<uuid>GPU-2</uuid>'],
    ['the end of the document', 'x</nvidia_smi_log>', 'x</nvidia_smi_log>'],
    ['the beginning of clocks', '<supported_clocks>', '<supported_clocks>'],
    ['control characters', 'a\u0000b\u001bc', 'a\uFFFDb\uFFFDc'],
    ['quotes, commas and other scripts', '"é,模型"', '"é,模型"'],
  ]
  for (const [title, name, read] of rows) {
    it(`may hold ${title}`, async () => {
      const { gpus } = readGpus(await treeOf(whole(cut(named(name))).xml))
      assert.deepEqual(
        gpus.map(({ uuid, processes }) => [uuid, processes.map((process) => process.name)]),
        [['GPU-1', [read]]],
      )
    })
  }

  it('are emptied when processes are not wanted', () => {
    const document = cutDocument(output(named('secret & <')), { processes: false })
    assert.match(whole(document).xml, /<process_name><\/process_name>/)
  })
})

describe('a document made to harm', () => {
  const billionLaughs = [
    '<?xml version="1.0"?>',
    '<!DOCTYPE nvidia_smi_log [',
    '<!ENTITY lol "lol">',
    ...Array.from({ length: 9 }, (_, i) => {
      return `<!ENTITY lol${i + 1} "${`&lol${i === 0 ? '' : i};`.repeat(10)}">`
    }),
    ']>',
    gpu('<uuid>GPU-1</uuid><product_name>&lol9;</product_name>'),
  ].join('\n')

  it('has no entity of its own expanded', async () => {
    const { xml } = whole(quick(() => cut(billionLaughs)))
    assert.ok(!xml.includes('ENTITY'))
    assert.equal(readGpus(await treeOf(xml)).gpus[0]?.name, '&lol9;')
  })

  it('has no external entity read', async () => {
    const external = `<?xml version="1.0"?>
<!DOCTYPE nvidia_smi_log [<!ENTITY xxe SYSTEM "file:///etc/passwd">]>
${gpu('<uuid>GPU-1</uuid><product_name>&xxe;</product_name>')}`
    assert.equal(readGpus(await treeOf(whole(cut(external)).xml)).gpus[0]?.name, '&xxe;')
  })

  it('has no second DOCTYPE obeyed inside of the root', async () => {
    const inner = log('<!DOCTYPE a [<!ENTITY b "c">]><gpu><uuid>&b;</uuid></gpu>')
    await assert.rejects(treeOf(whole(cut(inner)).xml), { code: 'malformed' })
  })

  it('changes no prototype', async () => {
    const tree = await treeOf(
      whole(cut(gpu('<uuid>GPU-1</uuid><__proto__><mig_mode>x</mig_mode></__proto__>'))).xml,
    )
    assert.equal(readGpus(tree).gpus[0]?.uuid, 'GPU-1')
    assert.equal(Reflect.get({}, 'mig_mode'), undefined)
  })

  const depths: readonly (readonly [title: string, open: string])[] = [
    ['plain elements', '<a>'],
    ['attributes that look like an end', '<a b="/>">'],
    ['attributes that hold a >', "<a b='>' c='>'>"],
  ]
  for (const [title, open] of depths) {
    it(`is refused when it nests to 10,000 with ${title}`, () => {
      const deep = log(open.repeat(10_000) + '</a>'.repeat(10_000))
      const { kind } = quick(() => cut(deep))
      assert.equal(kind, 'too_deep')
      assert.equal(failureFor(deep).code, 'malformed')
    })
  }

  it('may nest to 32', () => {
    // The root is the first of the 32.
    assert.equal(cut(log('<a>'.repeat(31) + '</a>'.repeat(31))).kind, 'whole')
    assert.equal(cut(log('<a>'.repeat(32) + '</a>'.repeat(32))).kind, 'too_deep')
  })

  it('does not nest by comments, sections, instructions and empty elements', () => {
    const flat = '<a/><a b="c>"/><!-- don\'t <a> --><![CDATA[ <a> ]]><?a <a> ?>'
    assert.equal(cut(log(flat.repeat(40))).kind, 'whole')
  })

  const floods: readonly (readonly [
    title: string,
    stdout: () => string,
    code: CollectErrorCode,
  ])[] = [
    ['an attribute of 50 MB', () => log(`<a b="${'x'.repeat(5e7)}"/>`), 'too_large'],
    ['elements without end', () => log('<a/>'.repeat(600_000)), 'too_large'],
    [
      'process names without end',
      () => `<nvidia_smi_log>${'<process_name>'.repeat(1e6)}`,
      'malformed',
    ],
    [
      'process names of 3 MB',
      () => gpu(`<process_name>${'x'.repeat(3e6)}</process_name>`),
      'too_large',
    ],
    ['beginnings of documents', () => '<nvidia_smi_log'.repeat(1e6), 'malformed'],
    ['openings of elements', () => `<nvidia_smi_log>${'<'.repeat(4e6)}`, 'malformed'],
  ]
  for (const [title, stdout, code] of floods) {
    it(`is refused within bounds when it holds ${title}`, () => {
      const text = stdout()
      assert.equal(quick(() => failureFor(text)).code, code)
    })
  }

  it('may hold supported clocks of any length', () => {
    const clocks = `<supported_clocks>${'<value>1 MHz</value>'.repeat(200_000)}</supported_clocks>`
    assert.equal(whole(quick(() => cut(log(clocks)))).xml, '<nvidia_smi_log></nvidia_smi_log>')
  })
})

function failureFor(stdout: string, rest: Partial<SmiOutput> = {}): CollectError {
  const { kind } = cut(stdout, rest)
  assert.ok(kind !== 'whole')
  return failureOf(output(stdout, rest), kind, { command: 'smi', timeoutMs: 250 })
}

describe('the reason of a failure', () => {
  const exit = (exitCode: number): SmiEnd => ({ kind: 'exited', exitCode })
  const notStarted = (errno: string): SmiEnd => ({ kind: 'not_started', errno })
  const mismatch = 'Failed to initialize NVML: Driver/library version mismatch'
  const lost = 'Unable to determine the device handle for GPU 0000:02:00.0: Unknown Error'
  const rows: readonly (readonly [
    title: string,
    end: SmiEnd,
    said: { readonly stdout?: string; readonly stderr?: string },
    code: CollectErrorCode,
    message: RegExp,
  ])[] = [
    [
      'a known text before the status',
      exit(255),
      { stdout: mismatch },
      'library_mismatch',
      /255: F/,
    ],
    [
      'a known text with status 0',
      exit(0),
      { stdout: 'No devices were found' },
      'no_gpu',
      /found$/,
    ],
    ['the known line among others', exit(1), { stdout: `hm\n${lost}\n` }, 'gpu_lost', /02:00\.0/],
    ['a known text on standard error', exit(255), { stderr: mismatch }, 'library_mismatch', /NVML/],
    ['the status alone', exit(9), {}, 'driver_unavailable', /status 9$/],
    ['status 4', exit(4), {}, 'permission', /4$/],
    ['status 6', exit(6), {}, 'no_gpu', /6$/],
    ['status 12', exit(12), {}, 'driver_unavailable', /12$/],
    ['status 13', exit(13), {}, 'driver_unavailable', /13$/],
    ['status 15', exit(15), {}, 'gpu_lost', /15$/],
    ['status 16', exit(16), {}, 'gpu_lost', /16$/],
    ['status 17', exit(17), {}, 'permission', /17$/],
    ['status 18', exit(18), {}, 'library_mismatch', /18$/],
    ['status 126', exit(126), {}, 'not_found', /126$/],
    ['another status', exit(3), { stdout: 'what' }, 'exit', /status 3: what$/],
    ['a signal', { kind: 'killed', signal: 'SIGBUS' }, {}, 'exit', /ended by SIGBUS$/],
    [
      'a text before a signal',
      { kind: 'killed', signal: 'SIGBUS' },
      { stdout: lost },
      'gpu_lost',
      /S/,
    ],
    ['text without document', exit(0), { stdout: 'hello' }, 'malformed', /found hello$/],
    ['nothing', exit(0), {}, 'malformed', /found nothing$/],
    ['a field in brackets', exit(0), { stdout: '1, [GPU requires reset]' }, 'malformed', /1, \[/],
    ['the deadline', { kind: 'timeout' }, { stderr: lost }, 'timeout', /within 250 ms: Unable/],
    ['a child that lives on', { kind: 'busy' }, {}, 'timeout', /previous smi has not ended/],
    ['an abort', { kind: 'aborted' }, {}, 'timeout', /was stopped/],
    ['too much output', { kind: 'too_large' }, {}, 'too_large', /more than the limit/],
    ['no such program', notStarted('ENOENT'), {}, 'not_found', /found none \(ENOENT\)/],
    ['a file in the way', notStarted('ENOTDIR'), {}, 'not_found', /ENOTDIR/],
    ['a file without the right to run', notStarted('EACCES'), {}, 'not_found', /EACCES/],
    ['a file of no kind', notStarted('ENOEXEC'), {}, 'not_found', /ENOEXEC/],
    ['no right to start', notStarted('EPERM'), {}, 'permission', /EPERM/],
    ['no room for a process', notStarted('EAGAIN'), {}, 'exit', /could not start smi \(EAGAIN\)/],
  ]
  for (const [title, end, said, code, message] of rows) {
    it(`is ${code} for ${title}`, () => {
      const { stdout = '', stderr = '' } = said
      const error = failureFor(stdout, { end, stderr })
      assert.equal(error.code, code)
      assert.match(error.message, message)
    })
  }

  it('is told on one line of bounded length, whatever the program wrote', () => {
    const { message } = failureFor(`\u001b[31m${'x'.repeat(1e6)}`, { end: exit(1) })
    assert.ok(message.length < 300, `${message.length}`)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
    assert.doesNotMatch(message, /[\u0000-\u001f]/)
  })
})

describe('what a program says beside its document', () => {
  const text = log('')
  const rows: readonly (readonly [
    title: string,
    stdout: string,
    rest: Partial<SmiOutput>,
    remarks: readonly string[],
  ])[] = [
    ['before the prolog', `A\n<?xml version="1.0"?>\n${text}`, {}, ['A']],
    ['before the root', `A\n${text}`, {}, ['A']],
    ['after the root', `${text}\nB\n`, {}, ['B']],
    ['on standard error', text, { stderr: 'C\n\nD\n' }, ['C', 'D']],
    [
      'by its status',
      text,
      { end: { kind: 'exited', exitCode: 14 } },
      ['the program ended with status 14 after a complete document'],
    ],
    [
      'by a signal',
      text,
      { end: { kind: 'killed', signal: 'SIGTERM' } },
      ['the program was ended by SIGTERM after a complete document'],
    ],
    [
      'by not ending',
      text,
      { end: { kind: 'timeout' } },
      ['the program wrote a complete document, did not end in time and was killed'],
    ],
    [
      'with a second document',
      `${text}\n<?xml version="1.0"?>\n${text}`,
      {},
      ['more than one document was written; the first is used'],
    ],
  ]
  for (const [title, stdout, rest, remarks] of rows) {
    it(`is kept as a remark: ${title}`, () => {
      assert.deepEqual(whole(cut(stdout, rest)).remarks, remarks)
    })
  }

  it('is kept to 16 short lines', () => {
    const stderr = `${'x'.repeat(5_000)}\n`.repeat(1_000)
    const { remarks } = whole(quick(() => cut(text, { stderr })))
    assert.equal(remarks.length, 16)
    assert.ok(remarks.every((remark) => remark.length <= 201))
  })
})

describe('bus ids', () => {
  it('of GPUs that cannot be reached are found in every wording of the drivers', () => {
    const remarks = [
      'Unable to determine the device handle for GPU3: 0000:04:00.0: Unknown Error',
      'Unable to determine the device handle for GPU0000:07:00.0: Unknown Error',
      'Unable to determine the device handle for gpu 00000000:AF:00.0: GPU is lost.',
      'GPU 00010000:01:00.0: GPU requires reset',
      'Unable to determine the device handle for GPU3: Unknown Error',
      'WARNING: infoROM is corrupted at gpu 0000:B3:00.0',
      'Unable to determine the device handle for GPU3: 0000:04:00.0: Unknown Error',
    ]
    assert.deepEqual(lostBusIds(remarks), ['0:04:00.0', '0:07:00.0', '0:af:00.0', '10000:01:00.0'])
  })

  it('are spelled in one way', () => {
    const rows: readonly (readonly [printed: string, key: string])[] = [
      ['0000:04:00.0', '0:04:00.0'],
      ['00000000:04:00.0', '0:04:00.0'],
      ['00002DF7:00:1E.0', '2df7:00:1e.0'],
      ['04:00.0', '0:04:00.0'],
      ['', ''],
      ['Bus 7', 'bus 7'],
    ]
    for (const [printed, key] of rows) assert.equal(busKey(printed), key)
  })
})
