package kubetest

import (
	"net/http"
	"slices"
)

// discovery answers which groups, versions and kinds there are.
func (a *API) discovery(w http.ResponseWriter, parts []string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case len(parts) == 1 && parts[0] == "api":
		reply(w, http.StatusOK, Object{"kind": "APIVersions", "versions": []string{"v1"}})
	case len(parts) == 1 && parts[0] == "version":
		reply(w, http.StatusOK, Object{"major": "1", "minor": "35", "gitVersion": "v1.35.4"})
	case len(parts) == 1 && parts[0] == "apis":
		reply(w, http.StatusOK, Object{"kind": "APIGroupList", "apiVersion": "v1", "groups": a.groups()})
	case len(parts) == 2 && parts[0] == "api":
		reply(w, http.StatusOK, a.resources("", parts[1]))
	case len(parts) == 3 && parts[0] == "apis":
		list := a.resources(parts[1], parts[2])
		if len(list["resources"].([]Object)) == 0 {
			fail(w, http.StatusNotFound, "NotFound", "no such group and version")
			return true
		}
		reply(w, http.StatusOK, list)
	default:
		return false
	}
	return true
}

func (a *API) groups() []Object {
	out := []Object{}
	versions := map[string][]Object{}
	var names []string
	for _, k := range a.kinds {
		if k.group == "" {
			continue
		}
		if !slices.Contains(names, k.group) {
			names = append(names, k.group)
		}
		for _, v := range k.versions {
			entry := Object{"groupVersion": k.group + "/" + v, "version": v}
			if !slices.ContainsFunc(versions[k.group], func(o Object) bool { return o["version"] == v }) {
				versions[k.group] = append(versions[k.group], entry)
			}
		}
	}
	for _, n := range names {
		out = append(out, Object{"name": n, "versions": versions[n], "preferredVersion": versions[n][0]})
	}
	return out
}

func (a *API) resources(group, version string) Object {
	list := []Object{}
	for _, k := range a.kinds {
		if k.group == group && slices.Contains(k.versions, version) {
			list = append(list, Object{"name": k.plural, "kind": k.kind, "namespaced": k.namespaced, "verbs": []string{"get", "list", "watch"}})
		}
	}
	gv := version
	if group != "" {
		gv = group + "/" + version
	}
	return Object{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": gv, "resources": list}
}
