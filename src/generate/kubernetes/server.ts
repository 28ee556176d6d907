import type { Config } from '../../config/schema.ts'
import type { GeneratedFile } from '../files.ts'
import { vllmPort } from './configuration.ts'
import { type Manifest, manifestFile, type Remarks, serverLabel, watchedLabel } from './manifest.ts'

/** The workload of the example, which scaling and the daemon of the node refer to. */
export const serverName = 'vllm-server'

/** Its container, which kubectl means where none is named. */
const container = 'vllm'

/** Where the model and what is compiled for it are kept. */
const cacheFolder = '/cache'

const loadPeriodSeconds = 10
/** The longest start that is on record took 2222 s, for compiling alone. */
const loadSeconds = 2_400
const drainSeconds = 120

/** vLLM as it is without vllm-vitals; the component adds the sidecar. */
export function serverFiles(config: Config): readonly GeneratedFile[] {
  const port = vllmPort(config)
  return [
    manifestFile('overlays/sidecar/deployment.yaml', deployment(port), deploymentRemarks),
    manifestFile(
      'overlays/sidecar/service.yaml',
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: serverName },
        spec: { selector: serverLabel, ports: [{ name: 'http', port, targetPort: 'http' }] },
      },
      {
        '': `Never call a Service "vllm": Kubernetes would set VLLM_PORT in every pod of the namespace, which vLLM takes for a
setting of its own (https://docs.vllm.ai/en/stable/configuration/env_vars/).`,
      },
    ),
  ]
}

function deployment(port: number): Manifest {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: serverName, labels: { ...serverLabel, ...watchedLabel } },
    spec: {
      replicas: 1,
      selector: { matchLabels: serverLabel },
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
      template: {
        metadata: {
          labels: serverLabel,
          annotations: { 'kubectl.kubernetes.io/default-container': container },
        },
        spec: {
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          terminationGracePeriodSeconds: drainSeconds + 60,
          containers: [serverContainer(port)],
          volumes: [
            { name: 'cache', emptyDir: {} },
            { name: 'shm', emptyDir: { medium: 'Memory', sizeLimit: '2Gi' } },
          ],
        },
      },
    },
  }
}

function serverContainer(port: number): Manifest {
  const health = { path: '/health', port: 'http' }
  return {
    name: container,
    image: 'vllm/vllm-openai:v0.13.0',
    args: ['--model=Qwen/Qwen3-0.6B', `--port=${port}`],
    env: [
      { name: 'HF_HOME', value: cacheFolder },
      { name: 'VLLM_CACHE_ROOT', value: `${cacheFolder}/vllm` },
    ],
    ports: [{ name: 'http', containerPort: port }],
    startupProbe: {
      httpGet: health,
      periodSeconds: loadPeriodSeconds,
      failureThreshold: loadSeconds / loadPeriodSeconds,
    },
    readinessProbe: { httpGet: health, periodSeconds: 5, timeoutSeconds: 5 },
    livenessProbe: { httpGet: health, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 12 },
    lifecycle: { preStop: { exec: { command: ['sleep', String(drainSeconds)] } } },
    resources: { requests: { cpu: '2', memory: '8Gi' }, limits: { 'nvidia.com/gpu': '1' } },
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      seccompProfile: { type: 'RuntimeDefault' },
    },
    volumeMounts: [
      { name: 'cache', mountPath: cacheFolder },
      { name: 'shm', mountPath: '/dev/shm' },
    ],
  }
}

const place = 'spec/template/spec/containers/0'

const deploymentRemarks: Remarks = {
  '': `An example of vLLM. Put your own in its place: all that vllm-vitals needs of it is the label "vllm-vitals: watched" on
the Deployment, by which the component adds the sidecar, and the label on the pods, which the component sets.`,
  'spec/strategy':
    'Needs a spare GPU during an update. Without one: maxSurge: 0, maxUnavailable: 1.',
  'spec/template/spec/enableServiceLinks':
    'No variables of Services: vLLM takes those that begin with VLLM_ for its own.',
  'spec/template/spec/volumes/0':
    'A volume that outlives the pod spares the next one the download and the compilation.',
  [`${place}/startupProbe`]: `Loading takes minutes: 277 s for a cold start (vllm-project/vllm#44881), 2222 s where everything is compiled
(vllm-project/vllm#34399). Until it has passed, no other probe runs; ${loadSeconds} s are allowed. A liveness probe alone kills a
server that loads, again and again (kserve/kserve#5062).`,
  [`${place}/readinessProbe`]:
    'A hung engine answers 200 here (vllm-project/vllm#39863). The component traffic-by-health asks the daemon beside it.',
  [`${place}/livenessProbe`]: `Two minutes: a busy server answers late (1280 requests at once made a health check time out,
ray-project/ray#54070), and a restart makes it busier.`,
  [`${place}/lifecycle`]:
    'After a pod is told to go, streams have this long to end, while no new requests come.',
  [`${place}/resources`]:
    'Here and nowhere else a GPU is asked for. Without it the pod starts all the same: docs/kubernetes.md, "The accident".',
  [`${place}/securityContext`]:
    'The image runs as root, so that this pod fits the Pod Security Standard "baseline". The sidecar alone fits "restricted".',
}
