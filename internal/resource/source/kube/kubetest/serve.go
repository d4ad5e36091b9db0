package kubetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"k8s.io/client-go/kubernetes/scheme"
)

// request is what a path asks for.
type request struct {
	kind      resourceKind
	version   string
	namespace string
	name      string
	status    bool
	token     bool // of a service account
	metaOnly  bool // the client wants metadata alone
	fields    string
	labels    string
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	down := a.down
	a.mu.Unlock()
	if down {
		panic(http.ErrAbortHandler)
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if a.discovery(w, parts) || a.streaming(w, r, parts) {
		return
	}
	req, ok := a.parse(parts)
	if !ok {
		fail(w, http.StatusNotFound, "NotFound", "no such path "+r.URL.Path)
		return
	}
	req.metaOnly = strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata")
	req.fields, req.labels = r.URL.Query().Get("fieldSelector"), r.URL.Query().Get("labelSelector")
	verb := verbOf(r, req)
	a.mu.Lock()
	a.calls[verb+" "+req.kind.plural]++
	forbid := a.forbid
	a.mu.Unlock()
	if forbid != nil && forbid(verb, req.kind.group, req.kind.plural, req.namespace) {
		fail(w, http.StatusForbidden, "Forbidden", denial(verb, req.kind.group, req.kind.plural, req.namespace))
		return
	}
	switch verb {
	case "watch":
		a.watch(w, r, req)
	case "list":
		a.list(w, req)
	default:
		a.change(w, r, req, verb)
	}
}

func verbOf(r *http.Request, req request) string {
	switch {
	case r.Method == http.MethodGet && r.URL.Query().Get("watch") != "":
		return "watch"
	case r.Method == http.MethodGet && req.name == "":
		return "list"
	default:
		return map[string]string{
			http.MethodGet: "get", http.MethodPost: "create", http.MethodPut: "update",
			http.MethodPatch: "patch", http.MethodDelete: "delete",
		}[r.Method]
	}
}

// parse reads /api/v1/… and /apis/group/version/….
func (a *API) parse(parts []string) (request, bool) {
	var req request
	group := ""
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		req.version, parts = parts[1], parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		group, req.version, parts = parts[1], parts[2], parts[3:]
	default:
		return req, false
	}
	if len(parts) >= 3 && parts[0] == "namespaces" {
		req.namespace, parts = parts[1], parts[2:]
	}
	if group == "authentication.k8s.io" && parts[0] == "tokenreviews" {
		req.kind = resourceKind{group, parts[0], "TokenReview", []string{"v1"}, false}
		return req, true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.IndexFunc(a.kinds, func(k resourceKind) bool {
		return k.group == group && k.plural == parts[0] && slices.Contains(k.versions, req.version)
	})
	if i < 0 {
		return req, false
	}
	req.kind = a.kinds[i]
	if len(parts) > 1 {
		req.name = parts[1]
	}
	req.status = len(parts) > 2 && parts[2] == "status"
	req.token = len(parts) > 2 && parts[2] == "token"
	return req, true
}

func (req request) key() string { return req.namespace + "/" + req.name }

// as shows an object in the version asked for.
func (req request) as(o Object) Object {
	if req.metaOnly {
		return Object{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": o["metadata"]}
	}
	o = maps.Clone(o)
	o["kind"], o["apiVersion"] = req.kind.kind, req.version
	if req.kind.group != "" {
		o["apiVersion"] = req.kind.group + "/" + req.version
	}
	return o
}

// takes reports whether an object is in the namespace and has the fields and
// labels asked for, all of the form name=value.
func (req request) takes(o Object) bool {
	m := sub(o, "metadata")
	if o == nil || req.namespace != "" && str(m, "namespace") != req.namespace {
		return false
	}
	return has(req.fields, func(name string) string {
		if field, ok := strings.CutPrefix(name, "metadata."); ok {
			return str(m, field)
		}
		return str(o, name)
	}) && has(req.labels, func(name string) string { return str(sub(m, "labels"), name) })
}

func has(selector string, value func(name string) string) bool {
	for term := range strings.SplitSeq(selector, ",") {
		if name, want, ok := strings.Cut(term, "="); ok && value(name) != strings.TrimPrefix(want, "=") {
			return false
		}
	}
	return true
}

func (a *API) list(w http.ResponseWriter, req request) {
	a.mu.Lock()
	items := []Object{}
	for _, name := range slices.Sorted(maps.Keys(a.objects[req.kind.key()])) {
		if o := a.objects[req.kind.key()][name]; req.takes(o) {
			items = append(items, req.as(o))
		}
	}
	version := strconv.FormatUint(a.version, 10)
	a.mu.Unlock()
	head := req.as(Object{})
	reply(w, http.StatusOK, Object{
		"kind": fmt.Sprint(head["kind"], "List"), "apiVersion": head["apiVersion"], "metadata": Object{"resourceVersion": version}, "items": items,
	})
}

func (a *API) change(w http.ResponseWriter, r *http.Request, req request, verb string) {
	var in Object
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err == nil && len(body) > 0 && verb != "delete" {
		in, err = decode(body)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "BadRequest", err.Error())
		return
	}
	if req.kind.plural == "tokenreviews" {
		a.review(w, req, in)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if req.name == "" {
		req.name = str(sub(in, "metadata"), "name")
	}
	old := a.objects[req.kind.key()][req.key()]
	apply := verb == "patch" && strings.Contains(r.Header.Get("Content-Type"), "apply")
	switch {
	case req.token && old != nil:
		in["status"] = Object{"token": "token-of-" + req.namespace + "-" + req.name}
		reply(w, http.StatusCreated, in)
	case req.token:
		fail(w, http.StatusNotFound, "NotFound", req.kind.plural+" "+req.name+" not found")
	case verb == "create" && old != nil:
		fail(w, http.StatusConflict, "AlreadyExists", req.name+" already exists")
	case verb != "create" && old == nil && (!apply || req.status):
		fail(w, http.StatusNotFound, "NotFound", req.kind.plural+" "+req.name+" not found")
	case verb == "get":
		reply(w, http.StatusOK, req.as(old))
	case verb == "delete":
		a.remove(req.kind, req.key())
		reply(w, http.StatusOK, Object{"kind": "Status", "apiVersion": "v1", "status": "Success"})
	case verb == "create":
		sub(in, "metadata")["namespace"] = req.namespace
		reply(w, http.StatusCreated, req.as(a.put(req.kind, req.key(), in)))
	case verb == "update" && str(sub(in, "metadata"), "resourceVersion") != "" &&
		str(sub(in, "metadata"), "resourceVersion") != str(sub(old, "metadata"), "resourceVersion"):
		fail(w, http.StatusConflict, "Conflict", req.name+" has been modified")
	case verb == "update":
		reply(w, http.StatusOK, req.as(a.put(req.kind, req.key(), in)))
	default:
		if old == nil {
			old = Object{"metadata": Object{"name": req.name, "namespace": req.namespace}}
		}
		reply(w, http.StatusOK, req.as(a.put(req.kind, req.key(), merge(old, in))))
	}
}

// decode reads JSON, or the protobuf of Kubernetes' own kinds.
func decode(body []byte) (Object, error) {
	if bytes.HasPrefix(body, []byte("k8s\x00")) {
		o, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
		if err == nil {
			body, err = json.Marshal(o)
		}
		if err != nil {
			return nil, err
		}
	}
	var in Object
	err := json.Unmarshal(body, &in)
	return in, err
}

// merge is a JSON merge patch.
func merge(old, patch Object) Object {
	out := maps.Clone(old)
	if out == nil {
		out = Object{}
	}
	for k, v := range patch {
		next, isObject := v.(Object)
		switch {
		case v == nil:
			delete(out, k)
		case isObject:
			out[k] = merge(sub(old, k), next)
		default:
			out[k] = v
		}
	}
	return out
}

func (a *API) review(w http.ResponseWriter, req request, in Object) {
	a.mu.Lock()
	review := a.reviews
	a.mu.Unlock()
	status := Object{"authenticated": false}
	if review != nil {
		var err error
		if status, err = review(str(sub(in, "spec"), "token")); err != nil {
			fail(w, http.StatusInternalServerError, "InternalError", err.Error())
			return
		}
	}
	in["status"] = status
	reply(w, http.StatusCreated, req.as(in))
}

func reply(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // JSON that came in as JSON
	}
	_, _ = w.Write(b)
}

func fail(w http.ResponseWriter, code int, reason, message string) {
	reply(w, code, statusObject(code, reason, message))
}

func statusObject(code int, reason, message string) Object {
	return Object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": message}
}
