package injection

import (
	"context"
	"errors"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/kube"
)

// Values of injection are in a ConfigMap of this name and the revision's.
const valuesMap = "istio-sidecar-injector"

// Revision is the one that is meant where none is named: the default one, or the only
// one. Where ConfigMaps may not be listed it is taken to be the default one.
func Revision(ctx context.Context, c *kube.Client, root string) (string, error) {
	maps, err := List[corev1.ConfigMap](ctx, c, schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, root, metav1.ListOptions{})
	var k *kube.Error
	if errors.As(err, &k) && k.Kind == kube.Forbidden {
		return defaultRevision, nil
	}
	if err != nil {
		return "", err
	}
	var have []string
	for i := range maps {
		switch rest, ok := strings.CutPrefix(maps[i].Name, valuesMap); {
		case !ok:
		case rest == "":
			have = append(have, defaultRevision)
		case rest[0] == '-':
			have = append(have, rest[1:])
		}
	}
	return meant(have)
}

const defaultRevision = "default"

// meant chooses of the revisions there are.
func meant(have []string) (string, error) {
	slices.Sort(have)
	switch {
	case len(have) == 0 || slices.Contains(have, defaultRevision):
		return defaultRevision, nil // that there is none is said by who reads it
	case len(have) == 1:
		return have[0], nil
	}
	return "", exit.Usagef("there are several revisions, and none of them is the default one: %s", strings.Join(have, ", ")).
		Try("meshctl kube-inject --revision %s …", have[0])
}
