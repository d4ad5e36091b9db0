package wait

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/compare"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// waiter looks how far it is.
type waiter struct {
	o     *Options
	mesh  *env.Mesh
	keys  []resource.Key
	files []*resource.Object

	last    *Status
	certain bool
	// concerned are the proxies, nil: all; they are found once the objects are there.
	concerned map[string]bool
	known     bool
}

// flusher is a control plane that can be asked to finish what was applied.
type flusher interface {
	Wait(ctx context.Context, timeout time.Duration) error
}

func (w *waiter) look(ctx context.Context) (*Status, error) {
	s := &Status{For: w.o.For}
	for _, k := range w.keys {
		s.Objects = append(s.Objects, name(k))
	}
	if w.o.For == ready {
		return s, w.pods(ctx, s)
	}
	if err := w.present(ctx, s); err != nil || len(s.Waiting) > 0 {
		return s, err
	}
	if f, ok := w.mesh.API.(flusher); ok {
		// Its answer is the sessions' state below; what counts is that all is computed.
		if err := f.Wait(ctx, between); err == nil {
			w.certain = true
		}
	}
	return s, w.proxies(ctx, s)
}

func name(k resource.Key) string {
	if k.Namespace == "" {
		return k.Kind.Kind + " " + k.Name
	}
	return k.Kind.Kind + " " + k.Namespace + "/" + k.Name
}

// present finds out whether the mesh has the objects in the version that is meant.
func (w *waiter) present(ctx context.Context, s *Status) error {
	if len(w.keys) == 0 {
		return nil
	}
	all, err := w.mesh.Objects(ctx)
	if err != nil {
		return err
	}
	have := map[resource.Key]*resource.Object{}
	for _, x := range all {
		have[x.Key] = x
	}
	for i, k := range w.keys {
		x := have[k]
		switch {
		case w.o.For == gone && x != nil:
			s.Waiting = append(s.Waiting, name(k)+" is still there")
		case w.o.For == gone:
		case x == nil:
			s.Waiting = append(s.Waiting, "the mesh has no "+name(k))
		case w.files != nil && !same(w.files[i], x):
			s.Waiting = append(s.Waiting, "the mesh has another version of "+name(k)+" than "+w.files[i].Pos.File)
		case w.o.Generation > 0:
			if n := generation(x); n < w.o.Generation {
				s.Waiting = append(s.Waiting, fmt.Sprintf("%s is of generation %d", name(k), n))
			}
		}
	}
	if len(s.Waiting) == 0 && !w.known && w.o.For != gone {
		w.known = true
		w.concerned = concerns(ctx, all, w.keys)
	}
	return nil
}

// same compares what objects mean to say; a cluster adds to metadata and status.
func same(file, there *resource.Object) bool {
	if file.Hash == there.Hash {
		return true
	}
	a, ok := file.Spec.(proto.Message)
	b, ok2 := there.Spec.(proto.Message)
	if ok && ok2 {
		return proto.Equal(a, b)
	}
	return reflect.DeepEqual(file.Spec, there.Spec)
}

func generation(x *resource.Object) int64 {
	var m struct {
		Metadata struct {
			Generation int64 `json:"generation"`
		} `json:"metadata"`
	}
	if json.Unmarshal(x.Raw, &m) != nil {
		return 0
	}
	return m.Metadata.Generation
}

// concerns are the proxies that would be sent something else without the objects;
// nil, which stands for all, when that cannot be told.
func concerns(ctx context.Context, all []*resource.Object, keys []resource.Key) map[string]bool {
	without := slices.DeleteFunc(slices.Clone(all), func(x *resource.Object) bool { return slices.Contains(keys, x.Key) })
	before, err := whatif.New(ctx, whatif.Input{Objects: all})
	if err != nil {
		return nil
	}
	after, err := whatif.New(ctx, whatif.Input{Objects: without, Before: before})
	if err != nil {
		return nil
	}
	a, err := before.Configs(ctx)
	if err != nil {
		return nil
	}
	b, err := after.Configs(ctx)
	if err != nil {
		return nil
	}
	d, err := compare.Configs(a, b)
	if err != nil {
		return nil
	}
	out := map[string]bool{}
	for _, g := range d.Groups {
		for _, p := range g.Proxies {
			out[p.String()] = true
		}
	}
	return out
}

// proxies counts those that have acknowledged everything.
func (w *waiter) proxies(ctx context.Context, s *Status) error {
	instances, err := w.mesh.API.Instances(ctx)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, in := range instances {
		if in.Problem != nil {
			s.Waiting = append(s.Waiting, fmt.Sprintf("control plane %s does not answer: %v", in.Name, in.Problem))
		}
		for i := range in.Sessions {
			x := &in.Sessions[i]
			name := mesh.ProxyName(x.Node)
			if w.known && w.concerned != nil && !w.concerned[name] || seen[name] {
				continue
			}
			seen[name] = true
			s.Concerned++
			switch behind, refused := state(x, w.o.Env.Now()); {
			case refused != "":
				s.Refused = append(s.Refused, Proxy{name, refused})
			case behind != "":
				s.Missing = append(s.Missing, Proxy{name, behind})
			default:
				s.Arrived++
			}
		}
	}
	pods, err := w.mesh.PodsIn(ctx, "")
	if err != nil {
		return err
	}
	for _, p := range pods {
		name := p.Name + "." + p.Namespace
		if p.Proxy == "none" || p.Phase != "Running" || seen[name] || w.o.Env.Revision != "" && p.Revision != w.o.Env.Revision || w.known && w.concerned != nil && !w.concerned[name] {
			continue
		}
		s.Concerned++
		s.Missing = append(s.Missing, Proxy{name, "it is not connected to the control plane"})
	}
	return nil
}

// state says what a session has not acknowledged, or refused.
func state(x *xdsserve.Session, now time.Time) (behind, refused string) {
	for _, t := range x.Types {
		switch {
		case t.Refusal != nil:
			text := strings.ToUpper(t.Short) + " refused: " + t.Refusal.Text
			if len(t.Refusal.Names) > 0 {
				text += " (" + strings.Join(t.Refusal.Names[:min(3, len(t.Refusal.Names))], ", ") + ")"
			}
			return "", text
		case t.Stale && !t.Sent.Time.IsZero():
			behind = fmt.Sprintf("%s sent %s ago, not acknowledged", strings.ToUpper(t.Short), env.ShortDuration(now.Sub(t.Sent.Time)))
		case t.Stale:
			behind = strings.ToUpper(t.Short) + " not sent yet"
		}
	}
	return behind, ""
}

// pods counts those that are ready.
func (w *waiter) pods(ctx context.Context, s *Status) error {
	w.certain = true
	pods, err := w.mesh.PodsIn(ctx, "")
	if err != nil {
		return err
	}
	if len(w.o.Args) > 0 {
		if pods, err = w.o.Env.FindPods(ctx, w.mesh, strings.Join(w.o.Args, "/")); err != nil {
			s.Waiting = []string{err.Error()} // they may come
			return nil                        //nolint:nilerr // it is said, and looked at again
		}
	}
	for _, p := range pods {
		if p.Phase == "Succeeded" || p.Terminating {
			continue
		}
		s.Concerned++
		if p.Ready {
			s.Arrived++
			continue
		}
		why := strings.TrimSpace(p.Phase + " " + p.Reason)
		if p.Message != "" {
			why += ": " + p.Message
		}
		s.Missing = append(s.Missing, Proxy{p.Name + "." + p.Namespace, why})
	}
	return nil
}
