import * as keda from '@kubernetes-models/keda/keda.sh/v1alpha1'
import * as operator from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1'
import * as apps from 'kubernetes-models/apps/v1'
import * as autoscaling from 'kubernetes-models/autoscaling/v2'
import * as networking from 'kubernetes-models/networking.k8s.io/v1'
import * as core from 'kubernetes-models/v1'

/** A parsed document of Kubernetes. */
export interface Manifest {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly labels?: Readonly<Record<string, string>>
    readonly annotations?: Readonly<Record<string, string>>
  }
  readonly [key: string]: unknown
}

/** The validators that were made of the OpenAPI documents and of the definitions of the custom resources. */
const kinds = [
  core.ConfigMap,
  core.Service,
  apps.Deployment,
  apps.DaemonSet,
  networking.NetworkPolicy,
  autoscaling.HorizontalPodAutoscaler,
  operator.PodMonitor,
  operator.ServiceMonitor,
  operator.PrometheusRule,
  keda.ScaledObject,
]

/**
 * Returns what the published schema of its kind has against `manifest`: mistakes, and fields that it does not know,
 * which the validators by themselves let pass.
 */
export function complaintsOf(manifest: Manifest): readonly string[] {
  const kind = kinds.find(
    (one) => one.kind === manifest.kind && one.apiVersion === manifest.apiVersion,
  )
  if (kind === undefined) return [`no schema of ${manifest.apiVersion} ${manifest.kind}`]
  const asked = new Map<object, Asked>()
  const mistakes: string[] = []
  try {
    kind.prototype.validate.call(listening(manifest, asked))
  } catch (error) {
    mistakes.push(error instanceof Error ? error.message : String(error))
  }
  return [...mistakes, ...unknownFields(manifest, asked, '')]
}

/** What a validator asked an object for: names of fields, or all that there are. */
interface Asked {
  readonly names: Set<string>
  everything: boolean
}

/** Returns `value` as it is, and notes in `asked` which of its fields are looked at, all the way down. */
function listening<T extends object>(value: T, asked: Map<object, Asked>): T {
  const own: Asked = asked.get(value) ?? { names: new Set(), everything: false }
  asked.set(value, own)
  return new Proxy(value, {
    get(target, name, receiver) {
      if (typeof name === 'string') own.names.add(name)
      const found: unknown = Reflect.get(target, name, receiver)
      return typeof found === 'object' && found !== null ? listening(found, asked) : found
    },
    ownKeys(target) {
      own.everything = true
      return Reflect.ownKeys(target)
    },
  })
}

/** The fields that a validator which knows of some never asked for. One that asked for none takes anything. */
function unknownFields(value: object, asked: Map<object, Asked>, path: string): readonly string[] {
  const own = asked.get(value)
  const isClosed =
    own !== undefined && !own.everything && own.names.size > 0 && !Array.isArray(value)
  return Object.entries(value).flatMap(([name, inner]) => {
    const place = `${path}/${name}`
    if (isClosed && !own.names.has(name)) return [`data${place} is not known`]
    return typeof inner === 'object' && inner !== null ? unknownFields(inner, asked, place) : []
  })
}
