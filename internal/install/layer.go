package install

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// Limits of what is read.
const (
	maxFile     = 4 << 20
	maxDepth    = 64
	maxSettings = 20_000
)

// Origin is where a value is from.
type Origin struct {
	Layer string // "profile demo", "file a.yaml", "--set", …
	Pos   diag.Pos
}

// String is for people: the place if there is one.
func (o Origin) String() string {
	if o.Pos.Line > 0 {
		return o.Pos.String()
	}
	return o.Layer
}

// setting is one value of a layer: a scalar, a list, or an empty map.
type setting struct {
	path   path
	value  any
	origin Origin
}

// layer is the settings of one source, in the order written.
type layer struct {
	name     string
	settings []setting
}

// gatewayLists are the lists whose items have names and are merged by them.
var gatewayLists = []string{"ingressGateways", "egressGateways"}

// readOperator reads an IstioOperator document. Findings are about its form;
// whether the keys exist is looked at later, when all layers are known.
func readOperator(layerName, file string, data []byte) (layer, []diag.Diagnostic) {
	out := layer{name: layerName}
	at := func(n *yaml.Node) diag.Pos {
		if n == nil {
			return diag.Pos{File: file}
		}
		return diag.Pos{File: file, Line: n.Line, Col: n.Column}
	}
	bad := func(n *yaml.Node, fix, format string, args ...any) (layer, []diag.Diagnostic) {
		return out, []diag.Diagnostic{{Severity: diag.Error, Code: codeForm, Pos: at(n), Message: fmt.Sprintf(format, args...), Fix: fix}}
	}
	if len(data) > maxFile {
		return bad(nil, "", "the file has %d bytes, at most %d are read", len(data), maxFile)
	}
	docs, err := documents(data)
	if err != nil {
		return bad(nil, "", "this is not YAML: %v", err)
	}
	if len(docs) == 0 {
		return out, nil
	}
	if len(docs) > 1 {
		return bad(docs[1], "give each its own file: later files are laid over earlier ones", "there are %d documents, and one IstioOperator was expected", len(docs))
	}
	root := docs[0]
	if root.Kind != yaml.MappingNode {
		return bad(root, "", "this is not an IstioOperator but %s", nodeKind(root))
	}
	var spec *yaml.Node
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		switch key.Value {
		case "apiVersion":
			if value.Value != "install.istio.io/v1alpha1" {
				return bad(value, "write apiVersion: install.istio.io/v1alpha1", "apiVersion is %q", value.Value)
			}
		case "kind":
			if value.Value != "IstioOperator" {
				return bad(value, "write kind: IstioOperator", "kind is %q", value.Value)
			}
		case "metadata":
		case "spec":
			spec = value
		default:
			near := resource.Nearest(key.Value, []string{"apiVersion", "kind", "metadata", "spec"})
			fix := "what is installed is said under spec"
			if near != "" {
				fix = "did you mean " + near + "?"
			}
			return bad(key, fix, "an IstioOperator has no field %q", key.Value)
		}
	}
	if spec == nil || isNull(spec) {
		return out, nil
	}
	if spec.Kind != yaml.MappingNode {
		return bad(spec, "", "spec is %s, not a map", nodeKind(spec))
	}
	if err := out.flatten(spec, nil, at); err != nil {
		return bad(spec, "", "%v", err)
	}
	return out, nil
}

// documents splits a stream, and leaves out what is empty.
func documents(data []byte) ([]*yaml.Node, error) {
	d, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		return nil, err
	}
	var out []*yaml.Node
	for {
		var n yaml.Node
		err := d.Load(&n)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		root := &n
		if n.Kind == yaml.DocumentNode {
			if len(n.Content) == 0 {
				continue
			}
			root = n.Content[0]
		}
		if !isNull(root) {
			out = append(out, root)
		}
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func nodeKind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	default:
		return "a single value"
	}
}

// flatten adds the settings below a map.
func (l *layer) flatten(n *yaml.Node, at path, pos func(*yaml.Node) diag.Pos) error {
	if n.Kind == yaml.AliasNode {
		return fmt.Errorf("%s: write values out in place of *%s", at, n.Value)
	}
	if len(at) > maxDepth || len(l.settings) > maxSettings {
		return fmt.Errorf("%s: there are too many values", at)
	}
	add := func(p path, place *yaml.Node, value any) {
		l.settings = append(l.settings, setting{slices.Clone(p), value, Origin{l.name, pos(place)}})
	}
	if n.Kind != yaml.MappingNode {
		var v any
		if err := n.Decode(&v); err != nil {
			return err
		}
		v, err := plain(v)
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		add(at, n, v)
		return nil
	}
	if len(n.Content) == 0 {
		add(at, n, map[string]any{})
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		below := append(slices.Clone(at), key.Value)
		if len(at) == 1 && at[0] == "components" && slices.Contains(gatewayLists, key.Value) && value.Kind == yaml.SequenceNode {
			if err := l.flattenGateways(value, below, pos); err != nil {
				return err
			}
			continue
		}
		if err := l.flattenValue(key, value, below, pos); err != nil {
			return err
		}
	}
	return nil
}

// flattenValue places a scalar or list at its key, which is where people look.
func (l *layer) flattenValue(key, value *yaml.Node, at path, pos func(*yaml.Node) diag.Pos) error {
	n := len(l.settings)
	if err := l.flatten(value, at, pos); err != nil {
		return err
	}
	if len(value.Content) == 0 && len(l.settings) == n+1 {
		l.settings[n].origin.Pos = pos(key)
	}
	return nil
}

// flattenGateways names the items of a list of gateways.
func (l *layer) flattenGateways(list *yaml.Node, at path, pos func(*yaml.Node) diag.Pos) error {
	for i, g := range list.Content {
		name := fmt.Sprintf("[%d]", i)
		if g.Kind == yaml.MappingNode {
			for k := 0; k+1 < len(g.Content); k += 2 {
				if g.Content[k].Value == "name" {
					name = "[name:" + g.Content[k+1].Value + "]"
				}
			}
		}
		if err := l.flatten(g, append(slices.Clone(at), name), pos); err != nil {
			return err
		}
	}
	return nil
}

// plain turns what YAML made into JSON's types; keys that are not text are refused.
func plain(v any) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			p, err := plain(e)
			if err != nil {
				return nil, err
			}
			v[k] = p
		}
		return v, nil
	case map[any]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			p, err := plain(e)
			if err != nil {
				return nil, err
			}
			out[fmt.Sprint(k)] = p
		}
		return out, nil
	case []any:
		for i, e := range v {
			p, err := plain(e)
			if err != nil {
				return nil, err
			}
			v[i] = p
		}
		return v, nil
	case int:
		return int64(v), nil
	case nil, bool, string, int64, float64:
		return v, nil
	default:
		return fmt.Sprint(v), nil
	}
}

// readSet reads one --set: path=value. The value is YAML; {a,b} is a list, as
// Helm has it.
func readSet(arg string) (setting, error) {
	key, text, ok := strings.Cut(arg, "=")
	if !ok {
		return setting{}, fmt.Errorf("--set %s has no =", arg)
	}
	p, err := parsePath(strings.TrimSpace(key))
	if err != nil {
		return setting{}, fmt.Errorf("--set %s: %w", arg, err)
	}
	if inner, ok := strings.CutPrefix(text, "{"); ok && len(inner) > 1 && strings.HasSuffix(inner, "}") && !strings.Contains(inner, ": ") && !strings.Contains(inner, `":`) {
		text = "[" + strings.TrimSuffix(inner, "}") + "]"
	}
	var v any
	if strings.TrimSpace(text) != "" {
		if err := yaml.Load([]byte(text), &v, yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth)))); err != nil {
			v = text // what is not YAML is text: percent signs, stars
		}
	} else {
		v = ""
	}
	if v, err = plain(v); err != nil {
		return setting{}, fmt.Errorf("--set %s: %w", arg, err)
	}
	return setting{p, v, Origin{Layer: "--set " + arg}}, nil
}
