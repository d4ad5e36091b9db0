package analyze

import (
	"maps"
	"slices"
	"strings"

	"istio.io/api/annotation"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// annotated are annotations and where they stand.
type annotated struct {
	object *resource.Object
	on     annotation.ResourceTypes // what carries them
	path   string
	values map[string]string
}

// eachAnnotated visits the annotations of Namespaces, Services, Pods and of the
// templates of pods. What is written on a workload itself, beside its template, is
// visited as Any: no annotation for pods has an effect there.
func (w *world) eachAnnotated(visit func(a annotated, name string)) {
	see := func(a annotated) {
		for _, name := range slices.Sorted(maps.Keys(a.values)) {
			if isIstioName(name) {
				visit(a, name)
			}
		}
	}
	for _, o := range w.of(resource.KindNamespace) {
		see(annotated{o, annotation.Namespace, "metadata.annotations", o.Meta.Annotations})
	}
	for _, o := range w.of(resource.KindService) {
		see(annotated{o, annotation.Service, "metadata.annotations", o.Meta.Annotations})
	}
	for _, p := range w.pods.all {
		if p.spec == nil {
			continue
		}
		see(annotated{p.object, annotation.Pod, under(p.path, "metadata.annotations"), p.annotations})
		if p.path != "" {
			see(annotated{p.object, annotation.Any, "metadata.annotations", p.object.Meta.Annotations})
		}
	}
}

// isIstioName reports whether an annotation is one of Istio's.
func isIstioName(name string) bool {
	domain, _, ok := strings.Cut(name, "/")
	return ok && (domain == "istio.io" || strings.HasSuffix(domain, ".istio.io"))
}

// knownAnnotations are Istio's, by name.
func knownAnnotations() map[string]*annotation.Instance {
	all := annotation.AllResourceAnnotations()
	out := make(map[string]*annotation.Instance, len(all))
	for _, a := range all {
		out[a.Name] = a
	}
	return out
}

// notAnnotations begin names under Istio's domain that others choose or that tools
// of Istio write, and that the list does not have.
var notAnnotations = []string{"install.operator.istio.io/", "operator.istio.io/", "internal.istio.io/", "solo.io/"}

// kubeAnnotations reports annotations that do not exist (IST0108), that are not for
// what carries them (IST0107), that have a successor (IST0135), or have a value that
// cannot be used (IST0125).
func kubeAnnotations(w *world, f *findings) {
	known := knownAnnotations()
	w.eachAnnotated(func(a annotated, name string) {
		path := in(a.path, name)
		if slices.ContainsFunc(notAnnotations, func(p string) bool { return strings.HasPrefix(name, p) }) {
			return
		}
		k := known[name]
		if k == nil {
			f.unknownAnnotation(a, name, known)
			return
		}
		if !slices.Contains(k.Resources, a.on) && !slices.Contains(k.Resources, annotation.Any) {
			f.misplacedAnnotation(a, name, k)
			return
		}
		if k.Deprecated {
			f.add(a.object, codeDeprecatedAnnotation, path, text{
				"annotation " + name + " is deprecated" + successorOf(name), "it still does what it always did", "use its successor, or remove it",
			})
		}
		if problem := annotationProblem(name, a.values[name]); problem != "" {
			f.add(a.object, codeInvalidAnnotation, path, text{
				"annotation " + name + ": " + problem, "the annotation has no effect, or the pod does not start", "correct the value",
			})
		}
	})
}

func (f *findings) unknownAnnotation(a annotated, name string, known map[string]*annotation.Instance) {
	t := text{"there is no annotation " + name, "it has no effect", "remove it, or correct the name"}
	edit := diag.Edit{}
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if strings.EqualFold(strings.ReplaceAll(k, "-", ""), strings.ReplaceAll(name, "-", "")) {
			t.fix, edit = "write "+k, diag.Edit{Path: in(a.path, name), Key: k}
		}
	}
	f.add(a.object, codeUnknownAnnotation, in(a.path, name), t)
	f.edit(edit)
}

func (f *findings) misplacedAnnotation(a annotated, name string, k *annotation.Instance) {
	var kinds []string
	for _, r := range k.Resources {
		kinds = append(kinds, r.String())
	}
	fix := "move it to a " + strings.Join(kinds, " or ")
	if slices.Contains(k.Resources, annotation.Pod) && a.on == annotation.Any {
		fix = "move it to metadata.annotations of the pod template"
	}
	f.add(a.object, codeMisplacedAnnotation, in(a.path, name), text{
		"annotation " + name + " is for a " + strings.Join(kinds, " or ") + ", not for a " + a.object.Key.Kind.Kind, "it has no effect", fix,
	})
}

// successorOf is what to use in place of a deprecated annotation.
func successorOf(name string) string {
	switch name {
	case annotation.SidecarInject.Name:
		return ": it is a label now"
	case annotation.SidecarStatsInclusionPrefixes.Name, annotation.SidecarStatsInclusionSuffixes.Name, annotation.SidecarStatsInclusionRegexps.Name, annotation.SidecarExtraStatTags.Name:
		return ": proxy.istio.io/config has proxyStatsMatcher and extraStatTags"
	case annotation.SidecarDiscoveryAddress.Name:
		return ": proxy.istio.io/config has discoveryAddress"
	}
	return ""
}

// partOf is the label by which what an installation brings is known.
const partOf = "app.kubernetes.io/part-of"

// alphaAnnotations reports annotations that may change or go away.
func alphaAnnotations(w *world, f *findings) {
	known := knownAnnotations()
	w.eachAnnotated(func(a annotated, name string) {
		k := known[name]
		if k == nil || k.FeatureStatus != annotation.Alpha || k.Deprecated || !slices.Contains(k.Resources, a.on) || isWrittenByTools(name) {
			return
		}
		if a.object.Meta.Labels[partOf] == "istio" {
			return // of the mesh's own gateways: each upgrade looks at it again
		}
		f.add(a.object, codeAlphaAnnotation, in(a.path, name), text{
			"annotation " + name + " is alpha", "it works, and may change with any version", "look at it again with each upgrade",
		})
	})
}

// isWrittenByTools reports annotations that no user writes.
func isWrittenByTools(name string) bool {
	return name == annotation.SidecarStatus.Name || name == annotation.SidecarInterceptionMode.Name ||
		name == annotation.IoIstioRev.Name || name == annotation.GalleyAnalyzeSuppress.Name
}
