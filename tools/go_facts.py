"""What upstream's Go types say and its OpenAPI file does not.

The OpenAPI file knows a field's JSON type and whether it is required. It does not know whether Go holds it
by pointer (absent and empty differ, the empty value is written out) or by value with ``omitempty`` (the
empty value is left out), nor which optional fields are always written. These tables do.
``tools/generate.py`` reads them; every entry is ``group.Type: field ...`` with the group's folder name, and
an entry that names nothing is an error there.
"""

from __future__ import annotations

#: Optional strings that are pointers in Go: ``str | None``.
POINTER_STRINGS = """
admissionregistration.MatchResources: matchPolicy
admissionregistration.MutatingAdmissionPolicySpec: failurePolicy
admissionregistration.MutatingWebhook: failurePolicy matchPolicy reinvocationPolicy
admissionregistration.NamedRuleWithOperations: scope
admissionregistration.ParamRef: parameterNotFoundAction
admissionregistration.RuleWithOperations: scope
admissionregistration.ServiceReference: path
admissionregistration.ValidatingAdmissionPolicySpec: failurePolicy
admissionregistration.ValidatingWebhook: failurePolicy matchPolicy
admissionregistration.Validation: reason
admissionregistration.WebhookClientConfig: url
autoscaling.HPAScalingRules: selectPolicy
batch.CronJobSpec: timeZone
batch.JobSpec: completionMode managedBy podReplacementPolicy
batch.JobStatus: failedIndexes
batch.PodFailurePolicyOnExitCodesRequirement: containerName
batch.SuccessPolicyRule: succeededIndexes
coordination.LeaseSpec: holderIdentity preferredHolder strategy
core.AppArmorProfile: localhostProfile
core.AzureDiskVolumeSource: cachingMode fsType kind
core.AzureFilePersistentVolumeSource: secretNamespace
core.CSIVolumeSource: fsType
core.ClusterTrustBundleProjection: name signerName
core.Container: restartPolicy
core.ContainerStatus: stopSignal
core.EndpointPort: appProtocol
core.EndpointAddress: nodeName
core.EphemeralContainer: restartPolicy
core.GRPCAction: service
core.GlusterfsPersistentVolumeSource: endpointsNamespace
core.HostPathVolumeSource: type
core.ISCSIPersistentVolumeSource: initiatorName
core.ISCSIVolumeSource: initiatorName
core.Lifecycle: stopSignal
core.LoadBalancerIngress: ipMode
core.LocalVolumeSource: fsType
core.PersistentVolumeClaimSpec: storageClassName volumeAttributesClassName volumeMode
core.PersistentVolumeClaimStatus: currentVolumeAttributesClassName
core.PersistentVolumeSpec: volumeAttributesClassName volumeMode
core.PodDNSConfigOption: value
core.PodResourceClaim: resourceClaimName resourceClaimTemplateName
core.PodResourceClaimStatus: resourceClaimName
core.PodSchedulingGroup: podGroupName
core.PodSecurityContext: fsGroupChangePolicy seLinuxChangePolicy supplementalGroupsPolicy
core.PodSpec: hostnameOverride preemptionPolicy runtimeClassName
core.PortStatus: error
core.ResourceHealth: message
core.SeccompProfile: localhostProfile
core.SecurityContext: procMount
core.ServicePort: appProtocol
core.ServiceSpec: internalTrafficPolicy ipFamilyPolicy loadBalancerClass trafficDistribution
core.TopologySpreadConstraint: nodeAffinityPolicy nodeTaintsPolicy
core.TypedLocalObjectReference: apiGroup
core.TypedObjectReference: apiGroup namespace
core.VolumeMount: mountPropagation recursiveReadOnly
core.VolumeMountStatus: recursiveReadOnly
core.WindowsSecurityContextOptions: gmsaCredentialSpec gmsaCredentialSpecName runAsUserName
discovery.Endpoint: hostname nodeName zone
discovery.EndpointPort: appProtocol name protocol
networking.IngressClassParametersReference: apiGroup namespace scope
networking.IngressPortStatus: error
networking.IngressSpec: ingressClassName
networking.NetworkPolicyPort: protocol
policy.PodDisruptionBudgetSpec: unhealthyPodEvictionPolicy
resource.AllocatedDeviceStatus: shareID
resource.Device: nodeName
resource.DeviceAttribute: string version
resource.DeviceClassSpec: extendedResourceName
resource.DeviceConstraint: distinctAttribute matchAttribute
resource.DeviceRequestAllocationResult: shareID
resource.NodeAllocatableResourceMapping: capacityKey
resource.ResourceSliceSpec: nodeName
scheduling.PriorityClass: preemptionPolicy
storage.CSIDriverSpec: fsGroupPolicy
storage.StorageClass: reclaimPolicy volumeBindingMode
storage.VolumeAttachmentSource: persistentVolumeName
apiextensions.CustomResourceDefinitionVersion: deprecationWarning
apiextensions.CustomResourceSubresourceScale: labelSelectorPath
apiextensions.JSONSchemaProps: $ref x-kubernetes-list-type x-kubernetes-map-type
apiextensions.ServiceReference: path
apiextensions.ValidationRule: reason
apiextensions.WebhookClientConfig: url
meta.DeleteOptions: propagationPolicy
meta.Preconditions: resourceVersion uid
"""

#: Required strings that are pointers in Go all the same: absence must be told from "".
REQUIRED_POINTER_STRINGS = """
admissionregistration.MutatingWebhook: sideEffects
admissionregistration.ValidatingWebhook: sideEffects
networking.HTTPIngressPath: pathType
"""

#: Optional whole numbers and booleans held by value in Go: zero and false are left out. All others are
#: pointers.
VALUE_SCALARS = """
admissionregistration.ValidatingAdmissionPolicyStatus: observedGeneration
apps.DaemonSetSpec: minReadySeconds
apps.DaemonSetStatus: numberAvailable numberUnavailable observedGeneration updatedNumberScheduled
apps.DeploymentSpec: minReadySeconds paused
apps.DeploymentStatus: availableReplicas observedGeneration readyReplicas
apps.DeploymentStatus: replicas unavailableReplicas updatedReplicas
apps.ReplicaSetSpec: minReadySeconds
apps.ReplicaSetStatus: availableReplicas fullyLabeledReplicas observedGeneration readyReplicas
apps.StatefulSetSpec: minReadySeconds
apps.StatefulSetStatus: currentReplicas observedGeneration readyReplicas updatedReplicas
authentication.TokenReviewStatus: authenticated
authorization.SubjectAccessReviewStatus: denied
autoscaling.ScaleSpec: replicas
autoscaling.HorizontalPodAutoscalerStatus: currentReplicas
batch.JobStatus: active failed succeeded
core.AWSElasticBlockStoreVolumeSource: partition readOnly
core.AzureFilePersistentVolumeSource: readOnly
core.AzureFileVolumeSource: readOnly
core.CSIPersistentVolumeSource: readOnly
core.CephFSPersistentVolumeSource: readOnly
core.CephFSVolumeSource: readOnly
core.CinderPersistentVolumeSource: readOnly
core.CinderVolumeSource: readOnly
core.Container: stdin stdinOnce tty
core.ContainerImage: sizeBytes
core.ContainerPort: hostPort
core.ContainerStateTerminated: signal
core.EphemeralContainer: stdin stdinOnce tty
core.Event: count
core.EventSeries: count
core.FCVolumeSource: readOnly
core.FlexPersistentVolumeSource: readOnly
core.FlexVolumeSource: readOnly
core.GCEPersistentDiskVolumeSource: partition readOnly
core.GlusterfsPersistentVolumeSource: readOnly
core.GlusterfsVolumeSource: readOnly
core.ISCSIPersistentVolumeSource: chapAuthDiscovery chapAuthSession readOnly
core.ISCSIVolumeSource: chapAuthDiscovery chapAuthSession readOnly
core.NFSVolumeSource: readOnly
core.NodeSpec: unschedulable
core.PersistentVolumeClaimVolumeSource: readOnly
core.PodCondition: observedGeneration
core.PodSpec: hostIPC hostNetwork hostPID
core.PodStatus: observedGeneration
core.PortworxVolumeSource: readOnly
core.Probe: failureThreshold initialDelaySeconds periodSeconds successThreshold timeoutSeconds
core.QuobyteVolumeSource: readOnly
core.RBDPersistentVolumeSource: readOnly
core.RBDVolumeSource: readOnly
core.ReplicationControllerSpec: minReadySeconds
core.ReplicationControllerStatus: availableReplicas fullyLabeledReplicas observedGeneration readyReplicas
core.ScaleIOPersistentVolumeSource: readOnly sslEnabled
core.ScaleIOVolumeSource: readOnly sslEnabled
core.ServicePort: nodePort
core.ServiceSpec: healthCheckNodePort publishNotReadyAddresses
core.StorageOSPersistentVolumeSource: readOnly
core.StorageOSVolumeSource: readOnly
core.VolumeMount: readOnly
core.VolumeMountStatus: readOnly
events.Event: deprecatedCount
flowcontrol.ResourcePolicyRule: clusterScope
networking.ServiceBackendPort: number
policy.PodDisruptionBudgetStatus: observedGeneration
resource.DeviceSubRequest: count
resource.ExactDeviceRequest: count
scheduling.PriorityClass: globalDefault
apiextensions.CustomResourceColumnDefinition: priority
apiextensions.CustomResourceDefinitionCondition: observedGeneration
apiextensions.CustomResourceDefinitionSpec: preserveUnknownFields
apiextensions.CustomResourceDefinitionStatus: observedGeneration
apiextensions.CustomResourceDefinitionVersion: deprecated
apiextensions.JSONSchemaProps: exclusiveMaximum exclusiveMinimum nullable uniqueItems
apiextensions.JSONSchemaProps: x-kubernetes-embedded-resource x-kubernetes-int-or-string
meta.Condition: observedGeneration
meta.ObjectMeta: generation
meta.Status: code
meta.StatusDetails: retryAfterSeconds
apiregistration.APIServiceSpec: insecureSkipTLSVerify
"""

#: Optional by the OpenAPI file, yet written even when empty: Go's tag has no ``omitempty``.
ALWAYS_WRITTEN = """
apps.StatefulSetOrdinals: start
apps.StatefulSetSpec: serviceName
apps.StatefulSetStatus: availableReplicas
core.Event: reportingComponent reportingInstance
discovery.EndpointSlice: endpoints ports
flowcontrol.FlowSchemaSpec: matchingPrecedence
flowcontrol.QueuingConfiguration: handSize queueLengthLimit queues
policy.PodDisruptionBudgetStatus: currentHealthy desiredHealthy disruptionsAllowed expectedPods
rbac.ClusterRole: rules
rbac.Role: rules
rbac.RoleRef: apiGroup
scheduling.PriorityClass: value
"""

#: Structs held by value in Go, thus always there and written as {}. ``metadata`` of every type and ``spec``
#: and ``status`` of every kind are by value without being named here; everything else is a pointer.
VALUE_STRUCTS = """
admissionregistration.MutatingWebhook: clientConfig
admissionregistration.ValidatingWebhook: clientConfig
apps.DaemonSetSpec: template updateStrategy
apps.DeploymentSpec: strategy template
apps.ReplicaSetSpec: template
apps.StatefulSetSpec: template updateStrategy
authentication.SelfSubjectReviewStatus: userInfo
authentication.TokenReviewStatus: user
autoscaling.HorizontalPodAutoscalerSpec: scaleTargetRef
autoscaling.ContainerResourceMetricSource: target
autoscaling.ContainerResourceMetricStatus: current
autoscaling.ExternalMetricSource: metric target
autoscaling.ExternalMetricStatus: current metric
autoscaling.ObjectMetricSource: describedObject metric target
autoscaling.ObjectMetricStatus: current describedObject metric
autoscaling.PodsMetricSource: metric target
autoscaling.PodsMetricStatus: current metric
autoscaling.ResourceMetricSource: target
autoscaling.ResourceMetricStatus: current
batch.CronJobSpec: jobTemplate
batch.JobSpec: template
batch.JobTemplateSpec: spec
core.Binding: target
core.Container: resources
core.ContainerStatus: lastState state
core.EphemeralContainer: resources
core.Event: involvedObject source
core.NodeDaemonEndpoints: kubeletEndpoint
core.NodeStatus: daemonEndpoints nodeInfo
core.PersistentVolumeClaimSpec: resources
core.PersistentVolumeClaimTemplate: spec
core.PodTemplate: template
core.PodTemplateSpec: spec
core.PreferredSchedulingTerm: preference
core.ServiceStatus: loadBalancer
core.WeightedPodAffinityTerm: podAffinityTerm
discovery.Endpoint: conditions
events.Event: deprecatedSource regarding
flowcontrol.FlowSchemaSpec: priorityLevelConfiguration
flowcontrol.LimitedPriorityLevelConfiguration: limitResponse
networking.HTTPIngressPath: backend
networking.IPAddressSpec: parentRef
networking.IngressServiceBackend: port
networking.IngressStatus: loadBalancer
networking.NetworkPolicySpec: podSelector
rbac.ClusterRoleBinding: roleRef
rbac.RoleBinding: roleRef
resource.AllocationResult: devices
resource.ResourceClaimSpec: devices
resource.ResourceClaimTemplateSpec: spec
resource.ResourceSliceSpec: pool
storage.VolumeAttachmentSpec: source
apiextensions.CustomResourceDefinitionSpec: names
apiextensions.CustomResourceDefinitionStatus: acceptedNames
meta.APIGroup: preferredVersion
"""

#: Quantities held by value that print "0" when nothing was given.
VALUE_QUANTITIES = """
core.ResourceFieldSelector: divisor
"""

#: Short names by resource, as ``kubectl api-resources`` shows them.
SHORT_NAMES = {
    "certificatesigningrequests": ["csr"],
    "componentstatuses": ["cs"],
    "configmaps": ["cm"],
    "cronjobs": ["cj"],
    "customresourcedefinitions": ["crd", "crds"],
    "daemonsets": ["ds"],
    "deployments": ["deploy"],
    "endpoints": ["ep"],
    "events": ["ev"],
    "horizontalpodautoscalers": ["hpa"],
    "ingresses": ["ing"],
    "ipaddresses": ["ip"],
    "limitranges": ["limits"],
    "namespaces": ["ns"],
    "networkpolicies": ["netpol"],
    "nodes": ["no"],
    "persistentvolumeclaims": ["pvc"],
    "persistentvolumes": ["pv"],
    "poddisruptionbudgets": ["pdb"],
    "pods": ["po"],
    "priorityclasses": ["pc"],
    "replicasets": ["rs"],
    "replicationcontrollers": ["rc"],
    "resourcequotas": ["quota"],
    "serviceaccounts": ["sa"],
    "services": ["svc"],
    "statefulsets": ["sts"],
    "storageclasses": ["sc"],
    "volumeattributesclasses": ["vac"],
}

#: Categories by resource.
CATEGORIES = {
    "apiservices": ["api-extensions"],
    "cronjobs": ["all"],
    "customresourcedefinitions": ["api-extensions"],
    "daemonsets": ["all"],
    "deployments": ["all"],
    "horizontalpodautoscalers": ["all"],
    "jobs": ["all"],
    "mutatingadmissionpolicies": ["api-extensions"],
    "mutatingadmissionpolicybindings": ["api-extensions"],
    "mutatingwebhookconfigurations": ["api-extensions"],
    "pods": ["all"],
    "replicasets": ["all"],
    "replicationcontrollers": ["all"],
    "services": ["all"],
    "statefulsets": ["all"],
    "validatingadmissionpolicies": ["api-extensions"],
    "validatingadmissionpolicybindings": ["api-extensions"],
    "validatingwebhookconfigurations": ["api-extensions"],
}

#: Where upstream's etcd layout is not simply the resource's name.
STORAGE_PATHS = {
    ("", "endpoints"): "services/endpoints",
    ("", "nodes"): "minions",
    ("", "replicationcontrollers"): "controllers",
    ("", "services"): "services/specs",
    ("apiextensions.k8s.io", "customresourcedefinitions"): "apiextensions.k8s.io/customresourcedefinitions",
    ("apiregistration.k8s.io", "apiservices"): "apiregistration.k8s.io/apiservices",
    ("networking.k8s.io", "ingresses"): "ingress",
}
