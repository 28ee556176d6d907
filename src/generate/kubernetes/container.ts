import type { Config } from '../../config/schema.ts'
import { configFile, configFolder, portOf } from './configuration.ts'
import { image, type Manifest, name, portName, type Remarks } from './manifest.ts'

/**
 * Measured by `npm run bench:footprint` beside a page of 333 KB that is scraped each second, with 8 GPUs, over
 * 40 s and over 600 s, the larger of each: what stays resident, its peak, and the share of one core. The limit leaves a page of `scrape.max_body` and
 * `nvidia-smi` itself, which runs in the same container and was not measured, their place.
 */
const measured = { residentMiB: 86, peakMiB: 96, cpuMilli: 34 } as const
const reserve = 1.5
const limitMiB = 256

const requestMiB = Math.ceil(measured.residentMiB * reserve)
const requestMilli = Math.ceil(measured.cpuMilli * reserve)

/** The daemon's container, the same in a pod of vLLM and in a pod of its own. */
export function vitalsContainer(config: Config): Manifest {
  return {
    name,
    image: `${image.name}:${image.tag}`,
    args: ['serve', `--config.file=${configFolder}/${configFile}`],
    env: [
      { name: 'NVIDIA_VISIBLE_DEVICES', value: 'all' },
      { name: 'NVIDIA_DRIVER_CAPABILITIES', value: 'utility' },
    ],
    ports: [{ name: portName, containerPort: portOf(config) }],
    startupProbe: {
      httpGet: { path: '/livez', port: portName },
      periodSeconds: 1,
      failureThreshold: 60,
    },
    livenessProbe: {
      httpGet: { path: '/livez', port: portName },
      periodSeconds: 10,
      timeoutSeconds: 5,
      failureThreshold: 3,
    },
    readinessProbe: {
      httpGet: { path: '/readyz', port: portName },
      periodSeconds: 5,
      timeoutSeconds: 5,
    },
    resources: {
      requests: { cpu: `${requestMilli}m`, memory: `${requestMiB}Mi` },
      limits: { memory: `${limitMiB}Mi` },
    },
    securityContext: restricted,
    terminationMessagePolicy: 'FallbackToLogsOnError',
    volumeMounts: [{ name, mountPath: configFolder, readOnly: true }],
  }
}

/** What a container may not do under the Pod Security Standard "restricted", and more. */
const restricted = {
  runAsNonRoot: true,
  runAsUser: 65_532,
  runAsGroup: 65_532,
  readOnlyRootFilesystem: true,
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  seccompProfile: { type: 'RuntimeDefault' },
} as const

export const configVolume = { name, configMap: { name } } as const

/** What is said of the container that stands at `place`. */
export function containerRemarks(place: string): Remarks {
  const remarks = {
    env: `Every GPU of the node can be seen, and of the driver nvidia-smi with its library alone. The container must not ask
for nvidia.com/gpu: the scheduler would take a card from vLLM, and the daemon would see that one and no other.
The NVIDIA runtime obeys both variables where the pod has runtimeClassName nvidia. Where administrators let it
ignore them in containers without privileges, no GPU is seen and VllmNoGpu fires: docs/kubernetes.md.`,
    startupProbe: 'Up within a second as a rule; a minute where the node is busy loading a model.',
    livenessProbe:
      'The daemon itself and nothing else: vLLM may hang, load or be gone, and the daemon is not restarted for it.',
    readinessProbe: `200 once every target was tried, whatever came of it, so that the sidecar takes no pod out of service. The
component traffic-by-health lets /health decide in its place.`,
    resources: `npm run bench:footprint: ${measured.residentMiB} MiB resident, ${measured.peakMiB} MiB at the peak and ${measured.cpuMilli / 10} % of a core, beside a page of 333 KB each
second and 8 GPUs. Requests: ${measured.residentMiB} × ${reserve} = ${requestMiB} MiB and ${measured.cpuMilli} × ${reserve} = ${requestMilli} m. Limit: ${measured.peakMiB} × ${reserve} = ${Math.ceil(measured.peakMiB * reserve)} MiB, and the rest
for nvidia-smi, which runs in this container, and for pages up to scrape.max_body. No limit of CPU: a daemon
that is throttled scrapes late, and then takes its own slowness for that of vLLM.`,
    securityContext:
      'The Pod Security Standard "restricted", with a root file system that is read-only beside.',
  }
  return Object.fromEntries(Object.entries(remarks).map(([key, text]) => [`${place}/${key}`, text]))
}
