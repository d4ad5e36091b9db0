package inject

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Volumes under the names that Istio gives them.
const (
	volumeEnvoy   = "istio-envoy"
	volumeData    = "istio-data"
	volumePodInfo = "istio-podinfo"
	volumeToken   = "istio-token"
	volumeRoot    = "istiod-ca-cert"
)

// envoyFolder is where the agent may write, for an Envoy.
const envoyFolder = "/etc/istio/proxy"

const (
	tokenAudience = "istio-ca"
	tokenSeconds  = 43200
	rootConfigMap = "istio-ca-root-cert"
)

func ownVolumes() []corev1.Volume {
	field := func(path, ref string) corev1.DownwardAPIVolumeFile {
		return corev1.DownwardAPIVolumeFile{Path: path, FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: ref}}
	}
	return []corev1.Volume{
		{Name: volumeEnvoy, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}},
		{Name: volumeData, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: volumePodInfo, VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
			Items: []corev1.DownwardAPIVolumeFile{field("labels", "metadata.labels"), field("annotations", "metadata.annotations")},
		}}},
		{Name: volumeToken, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
				Audience: tokenAudience, ExpirationSeconds: new(int64(tokenSeconds)), Path: "istio-token",
			}}},
		}}},
		{Name: volumeRoot, VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: rootConfigMap},
		}}},
	}
}

func (m *mutation) proxyMounts() []corev1.VolumeMount {
	return append([]corev1.VolumeMount{
		{Name: volumeRoot, MountPath: "/var/run/secrets/istio"},
		{Name: volumeData, MountPath: "/var/lib/istio/data"},
		{Name: volumeEnvoy, MountPath: envoyFolder},
		{Name: volumeToken, MountPath: "/var/run/secrets/tokens"},
		{Name: volumePodInfo, MountPath: "/etc/istio/pod"},
	}, m.opt.mounts...)
}

// addVolumes adds ours and the user's. One of the pod's own with the name of ours
// stays when it is the same kind of thing, as a gateway's chart may write it.
func (m *mutation) addVolumes() {
	for _, v := range slices.Concat(ownVolumes(), m.opt.volumes) {
		i := slices.IndexFunc(m.pod.Spec.Volumes, func(p corev1.Volume) bool { return p.Name == v.Name })
		if i < 0 {
			m.pod.Spec.Volumes = append(m.pod.Spec.Volumes, v)
			m.added.Volumes = append(m.added.Volumes, v.Name)
			continue
		}
		if source(m.pod.Spec.Volumes[i]) != source(v) {
			m.refuse(CodeConflict, fmt.Sprintf("spec.volumes[%d]", i), fmt.Sprintf("the pod has a volume %q of its own, which is also the sidecar's name for one", v.Name), "rename it")
		}
	}
	for _, name := range m.in.Values.Global.ImagePullSecrets {
		ref := corev1.LocalObjectReference{Name: name}
		if !slices.Contains(m.pod.Spec.ImagePullSecrets, ref) {
			m.pod.Spec.ImagePullSecrets = append(m.pod.Spec.ImagePullSecrets, ref)
			m.added.ImagePullSecrets = append(m.added.ImagePullSecrets, name)
		}
	}
}

// source is the kind of a volume, such as "configMap".
func source(v corev1.Volume) string {
	b, err := json.Marshal(v.VolumeSource)
	var fields map[string]json.RawMessage
	if err != nil || json.Unmarshal(b, &fields) != nil {
		return ""
	}
	return strings.Join(slices.Sorted(maps.Keys(fields)), ",")
}

func (m *mutation) readUserVolumes() {
	m.opt.volumes, _ = userVolumes(m.pod.Annotations[annUserVolume])
	m.opt.mounts, _ = userMounts(m.pod.Annotations[annUserVolumeMount])
}

func isUserVolumes(v string) error {
	_, err := userVolumes(v)
	return err
}

func isUserMounts(v string) error {
	_, err := userMounts(v)
	return err
}

// userVolumes reads {"name": {volume}, …} or [{"name": …, …}, …].
func userVolumes(text string) ([]corev1.Volume, error) {
	return named(text, func(v *corev1.Volume) *string { return &v.Name }, func(v corev1.Volume) error {
		if source(v) == "" {
			return fmt.Errorf("volume %q says not what it is, such as {\"configMap\": {…}}", v.Name)
		}
		return nil
	})
}

func userMounts(text string) ([]corev1.VolumeMount, error) {
	return named(text, func(v *corev1.VolumeMount) *string { return &v.Name }, func(v corev1.VolumeMount) error {
		if !strings.HasPrefix(v.MountPath, "/") {
			return fmt.Errorf("mount %q has no mountPath", v.Name)
		}
		return nil
	})
}

func named[T any](text string, name func(*T) *string, check func(T) error) ([]T, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var list []T
	var byName map[string]T
	if err := strictJSON(text, &byName); err == nil {
		for _, n := range slices.Sorted(maps.Keys(byName)) {
			v := byName[n]
			*name(&v) = n
			list = append(list, v)
		}
	} else if err2 := strictJSON(text, &list); err2 != nil {
		if !strings.HasPrefix(strings.TrimSpace(text), "[") {
			err2 = err
		}
		return nil, fmt.Errorf("not JSON of the form {\"name\": {…}}: %w", err2)
	}
	for i := range list {
		if *name(&list[i]) == "" {
			return nil, errors.New("an entry has no name")
		}
		if err := check(list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func strictJSON(text string, into any) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return errors.New("something follows it")
	}
	return nil
}
