package inject

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/meshctl/meshctl/internal/diag"
)

// templates are the kinds that make pods, and where in them the pod is.
var templates = map[string][]string{
	"Pod": {}, "CronJob": {"spec", "jobTemplate", "spec", "template"}, "PodTemplate": {"template"},
	"Deployment": {"spec", "template"}, "ReplicaSet": {"spec", "template"}, "StatefulSet": {"spec", "template"},
	"DaemonSet": {"spec", "template"}, "Job": {"spec", "template"}, "ReplicationController": {"spec", "template"},
	"DeploymentConfig": {"spec", "template"}, "Rollout": {"spec", "template"},
}

// groups that these kinds are of; others have kinds of the same names.
var templateGroups = []string{"", "apps", "batch", "apps.openshift.io", "argoproj.io"}

// Manifest injects every pod and template of pods in a YAML or JSON stream, also in
// lists. What it does not change comes out as it went in, byte for byte. An object
// that is refused by a finding stays as it is.
func Manifest(name string, data []byte, in Inputs) ([]byte, []diag.Diagnostic) {
	var out bytes.Buffer
	var all []diag.Diagnostic
	line := 1
	for _, doc := range documents(data) {
		text, ds := in.document(doc.body)
		for i := range ds {
			ds[i].Pos = diag.Pos{File: name, Line: line + bytes.Count(doc.marker, []byte("\n"))}
		}
		all = append(all, ds...)
		out.Write(doc.marker)
		out.Write(text)
		line += bytes.Count(doc.marker, []byte("\n")) + bytes.Count(doc.body, []byte("\n"))
	}
	return out.Bytes(), all
}

// document is one of a stream, with the line that begins it.
type document struct{ marker, body []byte }

// documents cuts a stream at its "---" lines; joined again it is the same.
func documents(data []byte) []document {
	docs := []document{{}}
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n') + 1
		if end == 0 {
			end = len(data)
		}
		text := data[:end]
		data = data[end:]
		if bytes.HasPrefix(text, []byte("---")) && len(bytes.TrimSpace(text[3:])) == 0 {
			docs = append(docs, document{marker: text})
			continue
		}
		last := &docs[len(docs)-1]
		last.body = append(last.body, text...)
	}
	return docs
}

func (in Inputs) document(body []byte) ([]byte, []diag.Diagnostic) {
	if len(bytes.TrimSpace(body)) == 0 {
		return body, nil
	}
	raw, err := yaml.YAMLToJSON(body)
	if err != nil {
		return body, []diag.Diagnostic{{
			Code: CodeWorkload, Severity: diag.Error, Message: err.Error(), Effect: "the document is left as it is", Fix: "meshctl validate -f says more",
		}}
	}
	root, err := decodeTree(raw)
	if err != nil {
		return body, nil // not an object
	}
	changed, ds := in.object(root)
	if !changed {
		return body, ds
	}
	text, err := json.MarshalIndent(root, "", "  ")
	if err == nil && !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		text, err = yaml.JSONToYAML(text)
	}
	if err != nil {
		return body, append(ds, diag.Diagnostic{Code: CodeWorkload, Severity: diag.Error, Message: err.Error()})
	}
	return append(bytes.TrimRight(text, "\n"), '\n'), ds
}

// object injects what an object holds, in place, and reports whether it changed.
func (in Inputs) object(v any) (bool, []diag.Diagnostic) {
	o, ok := v.(map[string]any)
	if !ok {
		return false, nil
	}
	kind, _ := o["kind"].(string)
	if items, ok := o["items"].([]any); ok && kind == "List" {
		var all []diag.Diagnostic
		any := false
		for _, item := range items {
			changed, ds := in.object(item)
			any, all = any || changed, append(all, ds...)
		}
		return any, all
	}
	version, _ := o["apiVersion"].(string)
	path, known := templates[kind]
	if !known || !slices.Contains(templateGroups, group(version)) {
		return false, nil
	}
	return in.template(o, version, kind, path)
}

func group(apiVersion string) string {
	name, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		return ""
	}
	return name
}

func (in Inputs) template(o map[string]any, version, kind string, path []string) (bool, []diag.Diagnostic) {
	meta, _ := o["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	namespace, _ := meta["namespace"].(string)
	ref := diag.Object{Kind: kind, Namespace: cmp.Or(namespace, in.Namespace.Name), Name: name}
	in.Namespace.Name = ref.Namespace
	if kind != "Pod" {
		in.Owner = &Owner{version, kind, name}
	}
	at := o
	for _, key := range path {
		next, ok := at[key].(map[string]any)
		if !ok {
			return false, []diag.Diagnostic{{
				Code: CodeWorkload, Severity: diag.Warning, Object: ref, Field: key, Message: "it has no template of pods", Effect: "it is left as it is",
			}}
		}
		at = next
	}
	raw, err := json.Marshal(at)
	if err != nil {
		return false, nil // what was decoded encodes
	}
	got, ds, err := MutateJSON(raw, in)
	if err != nil {
		return false, []diag.Diagnostic{{Code: CodeWorkload, Severity: diag.Error, Object: ref, Message: err.Error(), Effect: "it is left as it is", Fix: "meshctl validate -f says more"}}
	}
	for i := range ds {
		ds[i].Object = ref
	}
	if len(got.Patch) == 0 {
		if got.Pod != nil {
			ds = append(ds, diag.Diagnostic{
				Code: CodeLeftAlone, Severity: diag.Info, Object: ref, Message: "it gets no sidecar: " + got.Decision.Reason,
			})
		}
		return false, ds
	}
	is, err := decodeTree(got.Document)
	if err != nil {
		return false, ds
	}
	clear(at)
	maps.Copy(at, is.(map[string]any)) // a pod is an object
	return true, ds
}
