package install

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/meshctl/meshctl/charts"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/profiles"
)

// Names of what exists once.
const (
	DefaultRevision  = "default"
	DefaultNamespace = "istio-system"
	ingress          = "istio-ingressgateway"
	egress           = "istio-egressgateway"
)

// File is a document that is laid over the profile.
type File struct {
	Name string
	Data []byte
}

// Input is what a user asks for. The zero value is the profile default.
type Input struct {
	Profile   string
	Files     []File   // later ones count more
	Sets      []string // path=value, and more than files
	Revision  string   // more than both
	Namespace string   // of the control plane, where neither files nor sets say one
	Tag       string   // of images, where nobody says one
	// Charts are other charts than those in the program.
	Charts fs.FS
	// Force lets keys pass that are not known.
	Force bool
}

// Config is the outcome: every value, and where it is from.
type Config struct {
	Profile   string
	Namespace string
	Revision  string // "default" for the one without a name
	Spec      map[string]any
	Origins   map[string]Origin // by path

	charts    fs.FS
	tag       string
	tagChosen bool
}

// InvalidError is a set of options that cannot be used.
type InvalidError struct{ Findings []diag.Diagnostic }

// Error implements error.
func (e *InvalidError) Error() string {
	lines := make([]string, len(e.Findings))
	for i, d := range e.Findings {
		lines[i] = d.Error()
		if d.Fix != "" {
			lines[i] += "; " + d.Fix
		}
	}
	return strings.Join(lines, "\n")
}

// ProfileError names a profile that does not exist.
type ProfileError struct {
	Name string
	Near string // "" when none is near
}

// Error implements error.
func (e *ProfileError) Error() string { return fmt.Sprintf("there is no profile %q", e.Name) }

// Resolve merges all layers. Findings that are not errors come with the Config.
func Resolve(in Input) (*Config, []diag.Diagnostic, error) {
	c := &Config{charts: in.Charts, tag: in.Tag, Origins: map[string]Origin{}}
	if c.charts == nil {
		c.charts = charts.Files
	}
	knobs, err := Knobs(c.charts)
	if err != nil {
		return nil, nil, err
	}
	user, found := userLayers(in)
	if hasErrors(found) {
		return nil, nil, &InvalidError{found}
	}
	c.Profile = chosenProfile(in, user)
	layers, err := profileLayers(c.Profile)
	if err != nil {
		return nil, nil, err
	}
	layers = append(layers, user...)
	for _, l := range layers {
		for _, s := range l.settings {
			if d, wrong := knobs.check(s); wrong != none {
				if in.Force && wrong == unknownKey {
					d.Severity = diag.Warning
				}
				found = append(found, d)
			}
		}
	}
	if hasErrors(found) {
		return nil, nil, &InvalidError{found}
	}
	if err := c.merge(layers); err != nil {
		return nil, nil, err
	}
	if err := c.settle(in); err != nil {
		return nil, nil, err
	}
	found = append(found, c.checkMeshConfig()...)
	if hasErrors(found) {
		return nil, nil, &InvalidError{found}
	}
	return c, found, nil
}

func hasErrors(ds []diag.Diagnostic) bool {
	worst, any := diag.Worst(ds)
	return any && worst == diag.Error
}

// userLayers are files and sets, in the order they count.
func userLayers(in Input) ([]layer, []diag.Diagnostic) {
	var out []layer
	var found []diag.Diagnostic
	for _, f := range in.Files {
		l, ds := readOperator("file "+f.Name, f.Name, f.Data)
		out, found = append(out, l), append(found, ds...)
	}
	sets := layer{name: "--set"}
	for _, arg := range in.Sets {
		s, err := readSet(arg)
		if err != nil {
			found = append(found, diag.Diagnostic{Code: codeForm, Severity: diag.Error, Message: err.Error(), Fix: "write --set PATH=VALUE, such as --set components.cni.enabled=true"})
			continue
		}
		sets.settings = append(sets.settings, s)
	}
	out = append(out, sets)
	flags := layer{name: "flags"}
	if in.Profile != "" {
		flags.settings = append(flags.settings, setting{path{"profile"}, in.Profile, Origin{Layer: "--profile"}})
	}
	if in.Revision != "" {
		flags.settings = append(flags.settings, setting{path{"revision"}, in.Revision, Origin{Layer: "--revision"}})
	}
	return append(out, flags), found
}

func chosenProfile(in Input, user []layer) string {
	for _, l := range slices.Backward(user) {
		for _, s := range slices.Backward(l.settings) {
			if name, ok := s.value.(string); ok && s.path.String() == "profile" && name != "" {
				return name
			}
		}
	}
	return cmp.Or(in.Profile, profiles.Default)
}

// profileLayers is the profile default, and over it the chosen one.
func profileLayers(name string) ([]layer, error) {
	var out []layer
	for _, n := range slices.Compact([]string{profiles.Default, name}) {
		text, ok := profiles.Read(n)
		if !ok {
			return nil, &ProfileError{n, nearProfile(n)}
		}
		l, found := readOperator("profile "+n, "profiles/"+n+".yaml", text)
		if len(found) > 0 {
			return nil, &InvalidError{found}
		}
		for i := range l.settings {
			l.settings[i].origin.Pos = diag.Pos{} // a place in the program helps nobody
		}
		out = append(out, l)
	}
	return out, nil
}

// nearProfile is the profile that was most likely meant: one that is spelt nearly
// so, or with the same letters in another order.
func nearProfile(name string) string {
	if near := resource.Nearest(name, profiles.Names()); near != "" {
		return near
	}
	letters := func(s string) string {
		b := []byte(s)
		slices.Sort(b)
		return string(b)
	}
	for _, p := range profiles.Names() {
		if letters(p) == letters(name) {
			return p
		}
	}
	return ""
}

// merge lays the layers over each other.
func (c *Config) merge(layers []layer) error {
	var tree any = map[string]any{}
	for _, l := range layers {
		for _, s := range l.settings {
			value := clone(s.value)
			if m, ok := value.(map[string]any); ok && len(m) == 0 {
				if _, there := lookup(tree, s.path); there {
					continue // an empty map says nothing
				}
			}
			t, err := put(tree, s.path, value)
			if err != nil {
				return &InvalidError{[]diag.Diagnostic{{Code: codeSchema, Severity: diag.Error, Pos: s.origin.Pos, Message: fmt.Sprintf("%s: %s: %v", s.origin.Layer, s.path, err)}}}
			}
			tree = t
			key := s.path.String()
			for k := range c.Origins { // what was below is gone
				if strings.HasPrefix(k, key+".") || strings.HasPrefix(k, key+"[") {
					delete(c.Origins, k)
				}
			}
			c.Origins[key] = s.origin
		}
	}
	c.Spec = tree.(map[string]any)
	return nil
}

// settle makes one of what can be said in two ways, and fills in what nobody said.
func (c *Config) settle(in Input) error {
	c.Spec["profile"] = c.Profile
	values := mapAt(c.Spec, "values")
	if values == nil {
		values = map[string]any{}
	}
	c.Namespace = cmp.Or(stringAt(c.Spec, "namespace"), stringAt(values, "global", "istioNamespace"), in.Namespace, DefaultNamespace)
	revision := cmp.Or(stringAt(c.Spec, "revision"), stringAt(values, "revision"))
	if revision == DefaultRevision {
		revision = ""
	}
	c.Revision = cmp.Or(revision, DefaultRevision)
	if !isLabel(c.Revision) || !isLabel(c.Namespace) {
		name, what := c.Revision, "revision"
		if isLabel(c.Revision) {
			name, what = c.Namespace, "namespace"
		}
		return &InvalidError{[]diag.Diagnostic{{
			Code: codeForm, Severity: diag.Error, Message: fmt.Sprintf("%s %q is not a name", what, name), Fix: "use small letters, digits and -, such as canary or 1-31-0",
		}}}
	}
	mesh := mergeOver(mapAt(values, "meshConfig"), mapAt(c.Spec, "meshConfig"))
	delete(values, "meshConfig")
	var err error
	set := func(tree *map[string]any, value any, keys ...string) {
		if err == nil {
			var t any
			if t, err = put(*tree, keys, value); err == nil {
				*tree = t.(map[string]any)
			}
		}
	}
	c.tagChosen = stringAt(c.Spec, "tag") != "" || stringAt(values, "global", "tag") != ""
	set(&values, cmp.Or(stringAt(c.Spec, "hub"), stringAt(values, "global", "hub"), DefaultHub), "global", "hub")
	set(&values, cmp.Or(stringAt(c.Spec, "tag"), stringAt(values, "global", "tag"), c.tag), "global", "tag")
	set(&values, c.Namespace, "global", "istioNamespace")
	set(&values, revision, "revision")
	for _, k := range []string{"hub", "tag", "namespace", "revision"} {
		delete(c.Spec, k)
	}
	c.Spec["values"] = values
	c.Spec["meshConfig"] = mesh
	return err
}

// DefaultHub is where the images are when nobody says otherwise.
const DefaultHub = "docker.io/meshctl"

// isLabel: a DNS label.
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' })
}

// checkMeshConfig reads the mesh configuration as the control plane will.
func (c *Config) checkMeshConfig() []diag.Diagnostic {
	text, err := yaml.Marshal(c.Spec["meshConfig"])
	if err != nil {
		return []diag.Diagnostic{{Code: codeForm, Severity: diag.Error, Message: err.Error()}}
	}
	_, found := resource.DecodeMeshConfig("", text)
	for i := range found {
		found[i].Pos, found[i].Effect = diag.Pos{}, ""
		if o, ok := c.originOf("meshConfig." + found[i].Field); ok {
			found[i].Pos = o.Pos
			if o.Pos.IsZero() {
				found[i].Message = o.Layer + ": " + found[i].Message
			}
		}
	}
	return found
}

// originOf is the origin of a path, or of what it is part of.
func (c *Config) originOf(p string) (Origin, bool) {
	for p != "" {
		if o, ok := c.Origins[p]; ok {
			return o, true
		}
		if o, ok := c.Origins["values."+p]; ok {
			return o, true
		}
		i := strings.LastIndexAny(p, ".[")
		if i < 0 {
			break
		}
		p = p[:i]
	}
	// An error names a message where several fields were set: the strongest below.
	return Origin{}, false
}

// YAML is the spec as an IstioOperator document.
func (c *Config) YAML() ([]byte, error) {
	b, err := yaml.Marshal(map[string]any{"apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator", "spec": c.Spec})
	if err != nil {
		return nil, fmt.Errorf("print the options: %w", err)
	}
	return b, nil
}
