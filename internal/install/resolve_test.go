package install

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/charts"
	"github.com/meshctl/meshctl/internal/diag"
)

func TestPaths(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]path{
		"a":                     {"a"},
		"a.b.c":                 {"a", "b", "c"},
		`a.b\.c\.d.e`:           {"a", "b.c.d", "e"},
		"a[0].b":                {"a", "[0]", "b"},
		"a.[name:x.y].b":        {"a", "[name:x.y]", "b"},
		"a[0][1]":               {"a", "[0]", "[1]"},
		`k8s.nodeSelector.x\.y`: {"k8s", "nodeSelector", "x.y"},
	} {
		got, err := parsePath(text)
		if err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", ".", "a.", ".a", "a..b", "a[", "a[]", "a[0"} {
		if got, err := parsePath(text); err == nil {
			t.Errorf("%q is taken as %q", text, got)
		}
	}
}

// TestPutAndLookup: what is put is found, and nothing else changes; printing a
// path and reading it gives the same.
func TestPutAndLookup(t *testing.T) {
	t.Parallel()
	name := rapid.StringMatching(`[a-z./-]{1,4}`)
	rapid.Check(t, func(t *rapid.T) {
		var tree any = map[string]any{}
		want := map[string]any{}
		for n := range rapid.IntRange(1, 8).Draw(t, "puts") {
			p := path(rapid.SliceOfN(name, 1, 4).Draw(t, "path"))
			again, err := parsePath(p.String())
			if err != nil || cmp.Diff(p, again) != "" {
				t.Fatalf("%q reads as %q: %v", p.String(), again, err)
			}
			next, err := put(clone(tree), p, int64(n))
			if err != nil {
				continue // a value is in the way
			}
			tree = next
			for k := range want {
				if strings.HasPrefix(k, p.String()+".") {
					delete(want, k)
				}
			}
			want[p.String()] = int64(n)
		}
		for k, v := range want {
			if got, ok := lookup(tree, mustPath(k)); !ok || got != v {
				t.Fatalf("%s is %v, want %v in %v", k, got, v, tree)
			}
		}
	})
}

func TestSets(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]any{
		"a=true": true, "a=1": int64(1), "a=1.5": 1.5, "a=x=y": "x=y", "a=": "", "a='1'": "1", "a=100%": "100%", "a=*": "*",
		"a={x,y}": []any{"x", "y"}, "a={--u=http://x:1}": []any{"--u=http://x:1"}, `a={"b":1}`: map[string]any{"b": int64(1)}, "a=[1, 2]": []any{int64(1), int64(2)}, "a={b: c}": map[string]any{"b": "c"}, "a=null": nil, "a=: {": ": {",
	} {
		s, err := readSet(arg)
		if err != nil || cmp.Diff(want, s.value) != "" {
			t.Errorf("%s: %#v, %v; want %#v", arg, s.value, err, want)
		}
	}
	for _, arg := range []string{"a", "=x", "a..b=c"} {
		if _, err := readSet(arg); err == nil {
			t.Errorf("%s is taken", arg)
		}
	}
}

func FuzzOptions(f *testing.F) {
	f.Add("apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspec: {profile: demo}", "a.b=c")
	f.Add("spec: {components: {ingressGateways: [{name: x, enabled: true}]}}", "components.ingressGateways[0].name=y")
	f.Add("spec: &a {values: {<<: *a}}", "values.global={}")
	f.Fuzz(func(t *testing.T, file, set string) {
		c, _, err := Resolve(Input{Files: []File{{"f", []byte(file)}}, Sets: []string{set}, Tag: "1"})
		if err == nil && c.Spec == nil {
			t.Error("neither a result nor an error")
		}
	})
}

// TestLayers adds a stronger layer in each case, and looks at value and origin.
func TestLayers(t *testing.T) {
	t.Parallel()
	doc := func(spec string) []byte {
		return []byte("apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspec:\n" + spec)
	}
	a := File{"a.yaml", doc("  values:\n    pilot:\n      traceSampling: 5\n")}
	b := File{"b.yaml", doc("  values:\n    pilot: {traceSampling: 6}\n")}
	const key = "values.pilot.traceSampling"
	for _, c := range []struct {
		name   string
		in     Input
		want   any
		origin string
	}{
		{"a profile", Input{Profile: "demo"}, int64(100), "profile demo"},
		{"a file", Input{Profile: "demo", Files: []File{a}}, int64(5), "a.yaml:6:7"},
		{"a later file", Input{Profile: "demo", Files: []File{a, b}}, int64(6), "b.yaml:5:13"},
		{"a flag", Input{Profile: "demo", Files: []File{a, b}, Sets: []string{key + "=7"}}, int64(7), "--set " + key + "=7"},
		{"a flag for an item", Input{Sets: []string{"values.pilot.extraContainerArgs[0]=--x", key + "=7"}}, int64(7), "--set " + key + "=7"},
		{"a later flag", Input{Sets: []string{key + "=7", key + "=8"}}, int64(8), "--set " + key + "=8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, _, err := Resolve(c.in)
			if err != nil {
				t.Fatal(err)
			}
			v, _ := lookup(got.Spec, mustPath(key))
			if v != c.want || got.Origins[key].String() != c.origin {
				t.Errorf("%v from %s, want %v from %s", v, got.Origins[key], c.want, c.origin)
			}
		})
	}
}

func TestWaysToSayTheSame(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in                            Input
		profile, revision, ns, hubTag string
	}{
		{Input{Tag: "9"}, "default", "default", "istio-system", "docker.io/meshctl 9"},
		{Input{Tag: "9", Sets: []string{"profile=demo", "hub=h", "tag=t", "revision=r", "namespace=n"}}, "demo", "r", "n", "h t"},
		{Input{Tag: "9", Sets: []string{"values.global.hub=h", "values.global.tag=1.10", "values.revision=r", "values.global.istioNamespace=n"}}, "default", "r", "n", "h 1.1"},
		{Input{Tag: "9", Sets: []string{"values.global.tag='1.10'", "profile=tiny"}, Profile: "demo", Revision: "default", Namespace: "n"}, "demo", "default", "n", "docker.io/meshctl 1.10"},
	} {
		got, _, err := Resolve(c.in)
		if err != nil {
			t.Fatal(err)
		}
		hubTag := stringAt(got.Spec, "values", "global", "hub") + " " + stringAt(got.Spec, "values", "global", "tag")
		if got.Profile != c.profile || got.Revision != c.revision || got.Namespace != c.ns || hubTag != c.hubTag {
			t.Errorf("%+v: profile %s, revision %s, namespace %s, %s", c.in, got.Profile, got.Revision, got.Namespace, hubTag)
		}
		// What is resolved can be laid over again, and is the same then.
		text, err := got.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := Resolve(Input{Files: []File{{"again", text}}})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(got.Spec, again.Spec); d != "" {
			t.Errorf("resolved again: %s", d)
		}
	}
}

func TestWhatIsWrong(t *testing.T) {
	t.Parallel()
	file := func(text string) Input { return Input{Files: []File{{"f.yaml", []byte(text)}}} }
	set := func(s string) Input { return Input{Sets: []string{s}} }
	const head = "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspec:\n"
	for _, c := range []struct {
		in        Input
		says, fix string
	}{
		{file(head + "  values:\n    pilot:\n      autoscalMin: 1\n"), `f.yaml:6:7: values.pilot has no key "autoscalMin"`, "did you mean autoscaleMin?"},
		{file(head + "  componets: {}\n"), `f.yaml:4:3: spec has no key "componets"`, "did you mean components?"},
		{file(head + "  components:\n    pilots: {enabled: true}\n"), `components has no key "pilots"`, "did you mean pilot?"},
		{file(head + "  components:\n    ingressGateways:\n    - name: x\n      enable: true\n"), `f.yaml:7:7: components.ingressGateways has no key "enable"`, "did you mean enabled?"},
		{file(head + "  meshConfig:\n    accesLogFile: x\n"), `f.yaml:5:5: MeshConfig: accesLogFile: unknown field`, "did you mean accessLogFile?"},
		{file(head + "  meshConfig:\n    defaultConfig:\n      concurrency: many\n"), "f.yaml:6:7", ""},
		{file(head + "  values:\n    pilot:\n      autoscaleEnabled: 3\n"), "values.pilot.autoscaleEnabled is a boolean, and not a number", ""},
		{file(head + "  values:\n    pilot: 3\n"), "values.pilot is a map, and not a number", ""},
		{file("kind: Deployment\nspec: {}\n"), `f.yaml:1:7: kind is "Deployment"`, "write kind: IstioOperator"},
		{file("apiVersion: v1\n"), `apiVersion is "v1"`, ""},
		{file("values: {}\n"), `an IstioOperator has no field "values"`, "what is installed is said under spec"},
		{file(head + "  a: 1\n---\n" + head + "  b: 1\n"), "there are 2 documents", "give each its own file"},
		{file("a: [b"), "this is not YAML", ""},
		{file("- a\n"), "this is not an IstioOperator but a list", ""},
		{file(head + "- a\n"), "spec is a list, not a map", ""},
		{set("values.global.proxy.loglevel=x"), `values.global.proxy has no key "loglevel"`, "did you mean logLevel?"},
		{set("pilot.autoscaleMin=2"), `spec has no key "pilot"`, "did you mean values.pilot?"},
		{set("components.ztunnel.enabled=true"), "components.ztunnel cannot be set", "no ambient mode"},
		{set("components.cni=true"), "components.cni is a map, and not a boolean", ""},
		{set("components.cni.enabled.x=true"), `components.cni.enabled has no key "x"`, "it is a single value"},
		{set("components.ingressGateways[7].enabled=true"), "there is no item [7]", ""},
		{file(head + "  values: &a {x: *a}\n"), "write values out in place of *a", ""},
		{set("nonsense"), "has no =", "write --set PATH=VALUE"},
		{set("revision=Über"), `revision "Über" is not a name`, ""},
		{Input{Namespace: "a/b"}, `namespace "a/b" is not a name`, ""},
	} {
		_, _, err := Resolve(c.in)
		var invalid *InvalidError
		if !errors.As(err, &invalid) {
			t.Errorf("%+v: got %v", c.in, err)
			continue
		}
		d := invalid.Findings[0]
		if !strings.Contains(d.Error(), c.says) || !strings.Contains(d.Fix, c.fix) {
			t.Errorf("got  %s; %s\nwant %s; %s", d.Error(), d.Fix, c.says, c.fix)
		}
	}
	for name, near := range map[string]string{"demos": "demo", "Minimal": "minimal", "dmeo": "demo", "production": ""} {
		_, _, err := Resolve(Input{Profile: name})
		var profile *ProfileError
		if !errors.As(err, &profile) || profile.Near != near {
			t.Errorf("profile %s: %v, near %q", name, err, profile.Near)
		}
	}
}

func TestForceLetsUnknownKeysPass(t *testing.T) {
	t.Parallel()
	c, found, err := Resolve(Input{Force: true, Sets: []string{"values.pilot.mine=1"}})
	if err != nil || len(found) != 1 || found[0].Severity != diag.Warning {
		t.Fatalf("%v, %v", found, err)
	}
	if v, _ := lookup(c.Spec, mustPath("values.pilot.mine")); v != int64(1) {
		t.Errorf("the value is %v", v)
	}
	if _, _, err := Resolve(Input{Force: true, Sets: []string{"values.pilot.autoscaleEnabled=3"}}); err == nil {
		t.Error("--force lets a wrong type pass")
	}
}

func TestUnvalidatedValues(t *testing.T) {
	t.Parallel()
	c, _, err := Resolve(Input{Sets: []string{"unvalidatedValues.mine.x=1", "unvalidatedValues.pilot.autoscaleMin=4"}, Tag: "1"})
	if err != nil {
		t.Fatal(err)
	}
	all, err := c.Components()
	if err != nil {
		t.Fatal(err)
	}
	if stringAt(all[1].Values, "mine", "x") != "1" || stringAt(all[1].Values, "pilot", "autoscaleMin") != "4" {
		t.Errorf("values are %v", all[1].Values)
	}
}

// TestEveryKnobIsExplained: nobody is left alone with a name.
func TestEveryKnobIsExplained(t *testing.T) {
	t.Parallel()
	root, err := Knobs(charts.Files)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	var each func(k *Knob)
	each = func(k *Knob) {
		n++
		found, _, _, err := root.Find(k.Path)
		if k.Path != "" && (err != nil || found != k) {
			t.Errorf("%s is not found by its path", k.Path)
		}
		for _, c := range k.Children() {
			each(c)
		}
	}
	each(root)
	if n < 150 {
		t.Errorf("only %d knobs", n)
	}
	for _, key := range []string{"values.pilot.autoscaleEnabled", "values.global.hub", "components.pilot.k8s.env", "values.cni.cniBinDir", "meshConfig"} {
		if k, _, _, _ := root.Find(key); k == nil || k.Comment == "" {
			t.Errorf("%s has no comment", key)
		}
	}
}
