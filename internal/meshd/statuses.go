package meshd

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/meshctl/meshctl/internal/controlplane"
	"github.com/meshctl/meshctl/internal/controlplane/status"
	"github.com/meshctl/meshctl/internal/resource"
)

// statusManager owns the status fields that are written.
const statusManager = "istiod-status"

// Pace of statuses: at most 20 writes in 2 s.
const (
	statusEvery    = 2 * time.Second
	statusPerRound = 20
)

// statuses writes into Istio's resources what became of them. One replica runs it.
type statuses struct {
	client dynamic.Interface
	cp     *controlplane.ControlPlane
	log    *slog.Logger
}

func (s *statuses) run(ctx context.Context) {
	(&status.Reconciler[status.Status]{
		Writer: s, Desired: s.desired, Every: statusEvery, PerRound: statusPerRound, Now: time.Now, Logger: s.log.With("writer", "statuses"),
	}).Run(ctx)
}

func (s *statuses) desired() map[resource.Key]status.Status {
	var refusals []status.Refusal
	for _, r := range s.cp.Refusals() {
		var from []resource.Key
		for _, o := range r.Origins {
			from = append(from, resource.Key{Kind: resource.Kind{Group: o.Group, Kind: o.Kind}, Namespace: o.Namespace, Name: o.Name})
		}
		refusals = append(refusals, status.Refusal{Node: r.Node, Reason: r.Reason, From: from})
	}
	return status.Desired(s.cp.Diagnostics(), refusals)
}

// api is where a kind is read and written, in its preferred version: all versions
// of a kind of Istio's are one.
func (s *statuses) api(info resource.KindInfo) dynamic.NamespaceableResourceInterface {
	return s.client.Resource(schema.GroupVersionResource{Group: info.Kind.Group, Version: info.Versions[0], Resource: info.Plural})
}

// Read implements status.Writer: only at the start of a term, since what was said
// of a resource that is well by now has to be taken back.
func (s *statuses) Read(ctx context.Context) (map[resource.Key]status.Status, error) {
	out := map[resource.Key]status.Status{}
	for _, info := range resource.Kinds() {
		if !info.IsIstio() {
			continue
		}
		if _, err := eachObject(ctx, s.api(info), info.Plural, func(u *unstructured.Unstructured) {
			if st, ok := readStatus(u); ok {
				out[resource.Key{Kind: info.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}] = st
			}
		}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// wireStatus is a status as Istio's kinds have it.
type wireStatus struct {
	Conditions []wireCondition `json:"conditions"`
	Messages   []wireMessage   `json:"validationMessages"`
}

type wireCondition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	Since   string `json:"lastTransitionTime,omitempty"`
}

type wireMessage struct {
	Level string   `json:"level"`
	Type  wireType `json:"type"`
}

type wireType struct {
	Code string `json:"code"`
}

// readStatus reads a status that has our conditions.
func readStatus(u *unstructured.Unstructured) (status.Status, bool) {
	var w wireStatus
	b, err := json.Marshal(u.Object["status"])
	if err != nil || json.Unmarshal(b, &w) != nil {
		return status.Status{}, false
	}
	var out status.Status
	found := 0
	for _, c := range w.Conditions {
		cond := status.Condition{True: c.Status == "True", Reason: c.Reason, Message: c.Message}
		cond.Since, _ = time.Parse(time.RFC3339, c.Since)
		switch c.Type {
		case status.TypeAccepted:
			out.Accepted = cond
			found++
		case status.TypeReconciled:
			out.Reconciled = cond
			found++
		}
	}
	for _, m := range w.Messages {
		out.Messages = append(out.Messages, status.Message{Code: m.Type.Code, Level: m.Level})
	}
	return out, found == 2
}

// Write implements status.Writer.
func (s *statuses) Write(ctx context.Context, k resource.Key, st status.Status) error {
	info := resource.InfoOf(k.Kind)
	w := wireStatus{
		Conditions: []wireCondition{toWire(status.TypeAccepted, st.Accepted), toWire(status.TypeReconciled, st.Reconciled)},
		Messages:   []wireMessage{},
	}
	for _, m := range st.Messages {
		w.Messages = append(w.Messages, wireMessage{m.Level, wireType{m.Code}})
	}
	meta := map[string]string{"namespace": k.Namespace, "name": k.Name}
	conditions := []any{w.Conditions[0], w.Conditions[1]}
	if k.Kind == resource.KindWorkloadEntry { // whose health stands beside them, written by others
		u, err := s.api(*info).Namespace(k.Namespace).Get(ctx, k.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return status.ErrGone
		}
		if err != nil {
			return fmt.Errorf("read the status of %s: %w", k, err)
		}
		meta["resourceVersion"] = u.GetResourceVersion()
		conditions = append(conditions, foreignConditions(u, status.TypeAccepted, status.TypeReconciled)...)
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": info.APIVersion(), "kind": k.Kind.Kind, "metadata": meta,
		"status": map[string]any{"conditions": conditions, "validationMessages": w.Messages},
	})
	if err != nil {
		return fmt.Errorf("write the status of %s: %w", k, err)
	}
	force := true
	_, err = s.api(*info).Namespace(k.Namespace).Patch(ctx, k.Name, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: statusManager, Force: &force}, "status")
	switch {
	case apierrors.IsNotFound(err):
		return status.ErrGone
	case err != nil:
		return fmt.Errorf("write the status of %s: %w", k, err)
	}
	return nil
}

func toWire(name string, c status.Condition) wireCondition {
	value := "False"
	if c.True {
		value = "True"
	}
	return wireCondition{Type: name, Status: value, Reason: c.Reason, Message: c.Message, Since: c.Since.UTC().Format(time.RFC3339)}
}
