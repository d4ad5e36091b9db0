package resource

import (
	"net/url"
	"strings"

	extensionsv1alpha1 "istio.io/api/extensions/v1alpha1"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	typev1beta1 "istio.io/api/type/v1beta1"
)

func (c *check) wasmPlugin(s *extensionsv1alpha1.WasmPlugin) {
	c.targets(s.GetSelector(), s.GetTargetRef(), s.GetTargetRefs())
	c.wasmModule("spec", s.GetUrl(), s.GetSha256(), s.GetPluginName(), s.GetVmConfig())
	for i, m := range s.GetMatch() {
		c.ports(item("spec.match", i)+".ports", m.GetPorts())
	}
}

func (c *check) trafficExtension(s *extensionsv1alpha1.TrafficExtension) {
	c.targets(s.GetSelector(), nil, s.GetTargetRefs())
	switch f := s.GetFilterConfig().(type) {
	case nil:
		c.errorf("spec", "set wasm or lua", "the extension has no code")
	case *extensionsv1alpha1.TrafficExtension_Wasm:
		c.wasmModule("spec.wasm", f.Wasm.GetUrl(), f.Wasm.GetSha256(), f.Wasm.GetPluginName(), f.Wasm.GetVmConfig())
	case *extensionsv1alpha1.TrafficExtension_Lua:
		switch n := len(f.Lua.GetInlineCode()); {
		case n == 0:
			c.errorf("spec.lua", "set inlineCode", "the code is missing")
		case n > 65536:
			c.errorf("spec.lua.inlineCode", "", "the code has %d bytes, at most 65536 are allowed", n)
		}
	}
	for i, m := range s.GetMatch() {
		c.ports(item("spec.match", i)+".ports", m.GetPorts())
	}
}

func (c *check) ports(path string, ports []*typev1beta1.PortSelector) {
	for i, p := range ports {
		c.problem(item(path, i)+".number", portProblem(p.GetNumber()), "")
	}
}

func (c *check) wasmModule(path, from, sha256, name string, vm *extensionsv1alpha1.VmConfig) {
	u, err := url.Parse(from)
	switch {
	case from == "":
		c.errorf(path, "set url", "the url of the module is missing")
	case err != nil:
		c.errorf(path+".url", "", "%s is not a URL", quoted(from))
	case u.Scheme != "oci" && u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "file" && strings.Contains(from, "://"):
		c.errorf(path+".url", "use oci, https, http or file", "modules cannot be fetched by %s", quoted(u.Scheme))
	}
	if sha256 != "" && (len(sha256) != 64 || strings.Trim(sha256, "0123456789abcdef") != "") {
		c.errorf(path+".sha256", "", "%s is not a SHA-256 hash in lower-case hexadecimal", quoted(sha256))
	}
	if len(name) > 256 {
		c.errorf(path+".pluginName", "", "the name has %d characters, at most 256 are allowed", len(name))
	}
	names := map[string]string{}
	for i, e := range vm.GetEnv() {
		at := item(path+".vmConfig.env", i)
		if c.problem(at+".name", envNameProblem(e.GetName()), "") {
			c.unique("variable", names, e.GetName(), at+".name")
		}
		if e.GetValueFrom() == extensionsv1alpha1.EnvValueSource_HOST && e.GetValue() != "" {
			c.errorf(at+".value", "remove it, or use valueFrom INLINE", "valueFrom HOST takes the value from the proxy's environment")
		}
	}
}

// envoyFilter checks the shape of patches; what they do to Envoy's configuration
// is checked where they are applied.
func (c *check) envoyFilter(s *networkingv1alpha3.EnvoyFilter) {
	c.labels("spec.workloadSelector.labels", s.GetWorkloadSelector().GetLabels())
	if s.GetWorkloadSelector() != nil && len(s.GetTargetRefs()) > 0 {
		c.errorf("spec.targetRefs", "keep one of them", "workloadSelector and targetRefs exclude each other")
	}
	c.targets(nil, nil, s.GetTargetRefs())
	for i, p := range s.GetConfigPatches() {
		c.configPatch(item("spec.configPatches", i), p)
	}
}

func (c *check) configPatch(path string, p *networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectPatch) {
	if p == nil || p.GetApplyTo() == networkingv1alpha3.EnvoyFilter_INVALID {
		c.errorf(path, "set applyTo, such as HTTP_FILTER", "the patch does not say what it applies to")
		return
	}
	patch, op := p.GetPatch(), p.GetPatch().GetOperation()
	switch {
	case patch == nil:
		c.errorf(path, "add patch with operation and value", "patch is missing")
		return
	case op == networkingv1alpha3.EnvoyFilter_Patch_INVALID:
		c.errorf(path+".patch", "set operation, such as MERGE", "the patch has no operation")
	case op == networkingv1alpha3.EnvoyFilter_Patch_REMOVE && patch.GetValue() != nil:
		c.warnf(path+".patch.value", "none", "remove it", "operation REMOVE ignores the value")
	case op != networkingv1alpha3.EnvoyFilter_Patch_REMOVE && patch.GetValue() == nil:
		c.errorf(path+".patch", "add value", "operation %s needs a value", op)
	}
	if v := p.GetMatch().GetProxy().GetProxyVersion(); v != "" {
		c.problem(path+".match.proxy.proxyVersion", regexProblem(v), "")
	}
	c.patchMatch(path, p)
}

// patchMatch checks that the object matched on fits what the patch applies to.
func (c *check) patchMatch(path string, p *networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectPatch) {
	var allowed string
	switch p.GetApplyTo() {
	case networkingv1alpha3.EnvoyFilter_LISTENER, networkingv1alpha3.EnvoyFilter_FILTER_CHAIN, networkingv1alpha3.EnvoyFilter_NETWORK_FILTER,
		networkingv1alpha3.EnvoyFilter_HTTP_FILTER, networkingv1alpha3.EnvoyFilter_LISTENER_FILTER:
		allowed = "listener"
	case networkingv1alpha3.EnvoyFilter_ROUTE_CONFIGURATION, networkingv1alpha3.EnvoyFilter_VIRTUAL_HOST, networkingv1alpha3.EnvoyFilter_HTTP_ROUTE:
		allowed = "routeConfiguration"
	case networkingv1alpha3.EnvoyFilter_CLUSTER:
		allowed = "cluster"
	default: // nothing is matched on
	}
	var found string
	switch p.GetMatch().GetObjectTypes().(type) {
	case *networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectMatch_Listener:
		found = "listener"
	case *networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectMatch_RouteConfiguration:
		found = "routeConfiguration"
	case *networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectMatch_Cluster:
		found = "cluster"
	case *networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectMatch_Waypoint:
		if p.GetMatch().GetContext() != networkingv1alpha3.EnvoyFilter_WAYPOINT {
			c.errorf(path+".match.waypoint", "set context to WAYPOINT", "a waypoint match needs context WAYPOINT")
		}
		return
	}
	if found != "" && found != allowed {
		fix := "remove the match"
		if allowed != "" {
			fix = "match on " + allowed
		}
		c.errorf(path+".match."+found, fix, "applyTo %s cannot be matched by %s", p.GetApplyTo(), found)
	}
}
