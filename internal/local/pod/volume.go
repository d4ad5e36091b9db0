package pod

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/local/node"
)

// volumes makes the content of the pod's volumes below dir and says where each
// is mounted. All containers of a pod share one file tree here, so a path can
// show one volume only.
func volumes(f Facts, dir string, configs Configs, token func() (string, error)) ([]node.Mount, error) {
	sources := map[string]string{}
	for _, v := range f.Spec.Volumes {
		path := filepath.Join(dir, v.Name)
		if v.HostPath != nil {
			sources[v.Name] = v.HostPath.Path
			continue
		}
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, fmt.Errorf("make volume %s: %w", v.Name, err)
		}
		sources[v.Name] = path
		if err := fillVolume(v, path, f, configs, token); err != nil {
			return nil, fmt.Errorf("volume %s: %w", v.Name, err)
		}
	}
	var mounts []node.Mount
	at := map[string]node.Mount{}
	for _, c := range append(append([]corev1.Container(nil), f.Spec.InitContainers...), f.Spec.Containers...) {
		for _, m := range c.VolumeMounts {
			source, ok := sources[m.Name]
			if !ok {
				return nil, fmt.Errorf("container %s mounts volume %q, which the pod does not have", c.Name, m.Name)
			}
			if m.SubPath != "" {
				sub := filepath.Clean(m.SubPath)
				if filepath.IsAbs(sub) || sub == ".." || strings.HasPrefix(sub, "../") {
					return nil, fmt.Errorf("container %s: subPath %q leaves the volume", c.Name, m.SubPath)
				}
				source = filepath.Join(source, sub)
			}
			mount := node.Mount{Path: filepath.Clean(m.MountPath), Source: source, ReadOnly: m.ReadOnly}
			if before, taken := at[mount.Path]; taken {
				if before.Source != mount.Source {
					return nil, fmt.Errorf("%s is the mount point of two volumes; containers of a pod share one file tree in a local mesh", mount.Path)
				}
				continue
			}
			at[mount.Path] = mount
			mounts = append(mounts, mount)
		}
	}
	return mounts, nil
}

func fillVolume(v corev1.Volume, dir string, f Facts, configs Configs, token func() (string, error)) error {
	switch {
	case v.EmptyDir != nil:
		return os.Chmod(dir, 0o777)
	case v.ConfigMap != nil:
		return fillConfigMap(dir, f, configs, v.ConfigMap.Name, v.ConfigMap.Items, isTrue(v.ConfigMap.Optional))
	case v.Secret != nil:
		return fillSecret(dir, f, configs, v.Secret.SecretName, v.Secret.Items, isTrue(v.Secret.Optional))
	case v.DownwardAPI != nil:
		return fillDownward(dir, f, v.DownwardAPI.Items)
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			var err error
			switch {
			case s.ConfigMap != nil:
				err = fillConfigMap(dir, f, configs, s.ConfigMap.Name, s.ConfigMap.Items, isTrue(s.ConfigMap.Optional))
			case s.Secret != nil:
				err = fillSecret(dir, f, configs, s.Secret.Name, s.Secret.Items, isTrue(s.Secret.Optional))
			case s.DownwardAPI != nil:
				err = fillDownward(dir, f, s.DownwardAPI.Items)
			case s.ServiceAccountToken != nil:
				err = fillToken(dir, s.ServiceAccountToken.Path, token)
			}
			if err != nil {
				return err
			}
		}
		return nil
	default:
		return fmt.Errorf("this kind of volume is not supported")
	}
}

func fillToken(dir, name string, token func() (string, error)) error {
	t, err := token()
	if err != nil {
		return fmt.Errorf("issue token: %w", err)
	}
	return writeKey(dir, name, t, 0o600)
}

func fillConfigMap(dir string, f Facts, configs Configs, name string, items []corev1.KeyToPath, optional bool) error {
	cm := configs.ConfigMap(f.Namespace, name)
	if cm == nil {
		if optional {
			return nil
		}
		return missing("ConfigMap", f.Namespace, name, "")
	}
	return fillKeys(dir, "ConfigMap", f.Namespace, name, configData(cm), items, 0o644, optional)
}

func fillSecret(dir string, f Facts, configs Configs, name string, items []corev1.KeyToPath, optional bool) error {
	s := configs.Secret(f.Namespace, name)
	if s == nil {
		if optional {
			return nil
		}
		return missing("Secret", f.Namespace, name, "")
	}
	return fillKeys(dir, "Secret", f.Namespace, name, secretData(s), items, 0o600, optional)
}

func fillKeys(dir, what, namespace, name string, data map[string]string, items []corev1.KeyToPath, mode os.FileMode, optional bool) error {
	if len(items) == 0 {
		for k, v := range data {
			if err := writeKey(dir, k, v, mode); err != nil {
				return err
			}
		}
		return nil
	}
	for _, item := range items {
		v, ok := data[item.Key]
		if !ok {
			if optional {
				continue
			}
			return missing(what, namespace, name, item.Key)
		}
		if err := writeKey(dir, item.Path, v, mode); err != nil {
			return err
		}
	}
	return nil
}

func fillDownward(dir string, f Facts, items []corev1.DownwardAPIVolumeFile) error {
	for _, item := range items {
		if item.FieldRef == nil {
			return fmt.Errorf("file %s asks for a resource limit; there are none on one machine", item.Path)
		}
		v, err := Field(item.FieldRef.FieldPath, f)
		if err != nil {
			return err
		}
		if err := writeKey(dir, item.Path, v, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeKey writes one file of a volume; path may have folders but not leave it.
func writeKey(dir, path, value string, mode os.FileMode) error {
	clean := filepath.Clean(path)
	if !filepath.IsLocal(clean) {
		return fmt.Errorf("file %q leaves the volume", path)
	}
	full := filepath.Join(dir, clean)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return fmt.Errorf("make folder of %s: %w", path, err)
	}
	if err := os.WriteFile(full, []byte(value), mode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
