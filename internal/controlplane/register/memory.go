package register

import (
	"context"
	"strconv"
	"sync"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source"
)

// Memory is a Store that lives as long as the process, and a source of what is in
// it: for control planes that have nowhere else to write. Make one with NewMemory.
type Memory struct {
	name string
	sink source.Sink

	mu      sync.Mutex
	version uint64
	entries map[machine]Entry
	health  map[machine]string
}

// NewMemory makes an empty store whose entries reach sink from a source of that name.
func NewMemory(name string, sink source.Sink) *Memory {
	return &Memory{name: name, sink: sink, entries: map[machine]Entry{}, health: map[machine]string{}}
}

// Get implements Store.
func (m *Memory) Get(_ context.Context, namespace, name string) (Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[machine{namespace, name}]
	if !ok {
		return Entry{}, ErrNotFound
	}
	return e, nil
}

// Create implements Store.
func (m *Memory) Create(_ context.Context, e Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.entries[machine{e.Namespace, e.Name}]; ok {
		return ErrConflict
	}
	return m.put(e)
}

// Update implements Store.
func (m *Memory) Update(_ context.Context, e Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(e); err != nil {
		return err
	}
	return m.put(e)
}

// Delete implements Store.
func (m *Memory) Delete(_ context.Context, e Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(e); err != nil {
		return err
	}
	key := machine{e.Namespace, e.Name}
	delete(m.entries, key)
	delete(m.health, key)
	m.sink.Apply(m.name, nil, []resource.Key{{Kind: resource.KindWorkloadEntry, Namespace: e.Namespace, Name: e.Name}})
	return nil
}

// SetHealth implements Store.
func (m *Memory) SetHealth(_ context.Context, namespace, name string, c Condition) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := machine{namespace, name}
	e, ok := m.entries[key]
	if !ok {
		return ErrNotFound
	}
	m.health[key] = c.Status()
	return m.put(e)
}

// Status is the condition's status as objects have it.
func (c Condition) Status() string {
	if c.Healthy {
		return "True"
	}
	return "False"
}

func (m *Memory) check(e Entry) error {
	old, ok := m.entries[machine{e.Namespace, e.Name}]
	switch {
	case !ok:
		return ErrNotFound
	case old.Version != e.Version:
		return ErrConflict
	}
	return nil
}

// put keeps an entry and tells the sink.
func (m *Memory) put(e Entry) error {
	key := machine{e.Namespace, e.Name}
	o, err := resource.FromSpec(resource.KindWorkloadEntry, metav1.ObjectMeta{
		Namespace: e.Namespace, Name: e.Name, Labels: e.Labels, Annotations: e.Annotations,
	}, e.Spec)
	if err != nil {
		return err
	}
	m.version++
	e.Version = strconv.FormatUint(m.version, 10)
	e.Spec = proto.Clone(e.Spec).(*networking.WorkloadEntry)
	m.entries[key] = e
	o.Healthy = m.health[key]
	m.sink.Apply(m.name, []*resource.Object{o}, nil)
	return nil
}
