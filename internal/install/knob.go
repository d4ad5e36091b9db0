package install

import (
	"cmp"
	_ "embed" // the form of the spec
	"fmt"
	"io/fs"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v4"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

//go:embed knobs.yaml
var knobsText []byte

//go:embed component.yaml
var componentText []byte

//go:embed gatewayvalues.yaml
var gatewayValuesText []byte

// Codes of findings about options: those of resources that are wrong in the same way.
const (
	codeForm   = "MSH0101" // the document is not what it should be
	codeSchema = "IST0106" // a key that does not exist, or a value of another type
)

// Knob is one thing that can be set.
type Knob struct {
	Path    string // spec's own: values.pilot.autoscaleMin
	Comment string
	Default any // nil for maps
	// Open knobs take any key below.
	Open bool

	names    []string // in the order of the file
	children map[string]*Knob
}

// Children are the knobs below, in the order of the file they are from.
func (k *Knob) Children() []*Knob {
	out := make([]*Knob, 0, len(k.names))
	for _, n := range k.names {
		out = append(out, k.children[n])
	}
	return out
}

// openMaps are maps with defaults that take other keys, too.
var openMaps = []string{"resources", "requests", "limits", "nodeSelector", "meshConfig"}

// refused are keys of Istio's that have no meaning here, with the reason.
var refused = map[string]string{
	"components.ztunnel":      "there is no ambient mode: workloads have sidecars",
	"components.istiodRemote": "set values.istiodRemote.enabled",
	"installPackagePath":      "say it with --manifests",
	"compatibilityVersion":    "there are no earlier behaviours to return to",
}

// Knobs reads the whole tree from the charts.
func Knobs(charts fs.FS) (*Knob, error) {
	root := &Knob{children: map[string]*Knob{}}
	if err := root.read(knobsText); err != nil {
		return nil, fmt.Errorf("read knobs.yaml: %w", err)
	}
	mesh := root.add("meshConfig", "Istio's MeshConfig, field by field.")
	mesh.Open = true
	components := root.add("components", "What is installed, part by part.")
	for _, c := range []struct{ name, comment string }{
		{"base", "The definitions of Istio's resources."},
		{"pilot", "The control plane."},
		{"cni", "The node agent that redirects traffic."},
		{"ingressGateways", "Gateways where traffic enters the mesh, a list of named ones."},
		{"egressGateways", "Gateways where traffic leaves the mesh, a list of named ones."},
	} {
		k := components.add(c.name, c.comment)
		if err := k.read(componentText); err != nil {
			return nil, fmt.Errorf("read component.yaml: %w", err)
		}
		if slices.Contains(gatewayLists, c.name) {
			k.add("name", "The gateway's name, by which the items of all layers are told apart.").Default = ""
			k.add("label", "Labels of the gateway, for Gateway resources to select.").Open = true
		}
	}
	values := root.add("values", "Values of the charts, with Istio's names.")
	for _, chart := range []string{"istiod", "base", "cni"} {
		text, err := fs.ReadFile(charts, chart+"/values.yaml")
		if err != nil {
			return nil, fmt.Errorf("read chart %s: %w", chart, err)
		}
		if err := values.read(text); err != nil {
			return nil, fmt.Errorf("read chart %s: %w", chart, err)
		}
	}
	gateways := values.add("gateways", "Values of the gateways: those of all ingress, and of all egress gateways.")
	for _, name := range []string{ingress, egress} {
		if err := gateways.add(name, "").read(gatewayValuesText); err != nil {
			return nil, fmt.Errorf("read gatewayvalues.yaml: %w", err)
		}
	}
	return root, nil
}

// add is the knob of a name below, made if there is none.
func (k *Knob) add(name, comment string) *Knob {
	if c := k.children[name]; c != nil {
		return c
	}
	c := &Knob{Path: path{name}.String(), Comment: comment, children: map[string]*Knob{}}
	if k.Path != "" {
		c.Path = k.Path + "." + c.Path
	}
	k.names, k.children[name] = append(k.names, name), c
	return c
}

// read adds the keys of a YAML text, with their comments.
func (k *Knob) read(text []byte) error {
	docs, err := documents(text)
	if err != nil || len(docs) != 1 {
		return fmt.Errorf("%d documents: %w", len(docs), err)
	}
	return k.readNode(docs[0])
}

func (k *Knob) readNode(n *yaml.Node) error {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		c := k.add(key.Value, "")
		c.Comment = cmp.Or(c.Comment, comment(key))
		if value.Kind == yaml.MappingNode {
			c.Open = len(value.Content) == 0 && len(c.children) == 0 || slices.Contains(openMaps, key.Value)
			if err := c.readNode(value); err != nil {
				return err
			}
			continue
		}
		var v any
		if err := value.Decode(&v); err != nil {
			return err
		}
		v, err := plain(v)
		if err != nil {
			return err
		}
		if c.Default == nil {
			c.Default = v
		}
	}
	return nil
}

// comment is the text above a key, without the sharp signs; the last paragraph
// counts, since earlier ones are about the file.
func comment(key *yaml.Node) string {
	paragraphs := strings.Split(key.HeadComment, "\n\n")
	var out []string
	for line := range strings.SplitSeq(paragraphs[len(paragraphs)-1], "\n") {
		if text := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "#")); text != "" {
			out = append(out, text)
		}
	}
	return strings.Join(out, " ")
}

// Find is the knob of a path; when there is none, the names that are there
// instead, below the last that exists.
func (k *Knob) Find(p string) (knob *Knob, at string, instead []string, err error) {
	parsed, err := parsePath(p)
	if err != nil {
		return nil, "", nil, err
	}
	knob, at, instead = k.find(parsed)
	return knob, at, instead, nil
}

func (k *Knob) find(p path) (knob *Knob, at string, instead []string) {
	for _, s := range p {
		if isItem(s) {
			continue
		}
		c := k.children[s]
		if c == nil {
			if k.Open {
				return k, "", nil
			}
			return nil, k.Path, k.names
		}
		k = c
	}
	return k, "", nil
}

// fault is what is wrong with a setting.
type fault int

const (
	none fault = iota
	unknownKey
	wrongType
)

// check finds what is wrong with a setting.
func (k *Knob) check(s setting) (diag.Diagnostic, fault) {
	bad := func(f fault, fix, format string, args ...any) (diag.Diagnostic, fault) {
		d := diag.Diagnostic{Code: codeSchema, Severity: diag.Error, Pos: s.origin.Pos, Message: fmt.Sprintf(format, args...), Fix: fix}
		if s.origin.Pos.IsZero() {
			d.Message = s.origin.Layer + ": " + d.Message
		}
		return d, f
	}
	for i := range s.path {
		if why := refused[s.path[:i+1].String()]; why != "" {
			return bad(unknownKey, why, "%s cannot be set", s.path[:i+1])
		}
	}
	if len(s.path) > 0 && s.path[0] == "unvalidatedValues" {
		return diag.Diagnostic{}, none
	}
	knob, at, instead := k.find(s.path)
	if knob == nil {
		missing := s.path[len(mustPath(at))]
		for i := range s.path { // items of lists are not part of a knob's path
			if isItem(s.path[i]) && i <= len(mustPath(at)) {
				missing = s.path[len(mustPath(at))+1]
			}
		}
		fix := "there are " + strings.Join(instead, ", ")
		if near := resource.Nearest(missing, instead); near != "" {
			fix = "did you mean " + near + "?"
		} else if len(instead) == 0 {
			fix = "it is a single value"
		} else if elsewhere := k.elsewhere(missing); elsewhere != "" {
			fix = "did you mean " + elsewhere + "?"
		}
		return bad(unknownKey, fix, "%s has no key %q", cmp.Or(at, "spec"), missing)
	}
	if n := len(s.path); n > 0 && isItem(s.path[n-1]) { // of a list, whose items may be anything
		return diag.Diagnostic{}, none
	}
	if want := knob.kind(); want != "" && !fits(want, s.value) && s.value != nil && !knob.openBelow(s.path) {
		return bad(wrongType, "", "%s is %s, and not %s", s.path, want, kindOf(s.value))
	}
	return diag.Diagnostic{}, none
}

// elsewhere is the knob that was most likely meant by a name that is not known
// where it stands: one of that name which is under values or meshConfig.
func (k *Knob) elsewhere(name string) string {
	values := k.children["values"]
	if values != nil && values.children[name] != nil {
		return values.children[name].Path
	}
	return ""
}

func mustPath(s string) path {
	if s == "" {
		return nil
	}
	p, err := parsePath(s)
	if err != nil {
		return path{s}
	}
	return p
}

// openBelow: the path goes on below an open knob, whose own type says nothing.
func (k *Knob) openBelow(p path) bool {
	n := 0
	for _, s := range p {
		if !isItem(s) {
			n++
		}
	}
	return k.Open && n > len(mustPath(k.Path))
}

// kind is the type that a knob wants, "" for any.
func (k *Knob) kind() string {
	switch {
	case k.Open || len(k.children) > 0:
		return "a map"
	case k.Default == nil:
		return ""
	default:
		return kindOf(k.Default)
	}
}

// fits: text may be written as a number, and percentages are either.
func fits(want string, v any) bool {
	got := kindOf(v)
	return got == want || want == "text" && (got == "a number" || got == "a boolean") || want == "a number" && got == "text" ||
		want == "a list" && got == "a map" && len(v.(map[string]any)) == 0
}
