package view

import (
	"testing"

	"github.com/meshctl/meshctl/internal/mesh"
)

// A machine whose WorkloadGroup names no ports was called at the Service's number and had
// nothing there: its requests passed as those of an unknown service.
func TestTargetPortOfAMachine(t *testing.T) {
	t.Parallel()
	service := mesh.Port{Name: "http", Number: 9080, TargetName: "web"}
	for _, c := range []struct {
		name  string
		class Class
		port  mesh.Port
		want  uint32
	}{
		{"pod with the port", Class{NamedPorts: map[string]uint32{"web": 8080}}, service, 8080},
		{"pod without it", Class{NamedPorts: map[string]uint32{"http": 1}}, service, 0},
		{"machine without ports", Class{Machine: true}, service, 9080},
		{"machine with the service's name", Class{Machine: true, NamedPorts: map[string]uint32{"http": 7000, "web": 8080}}, service, 7000},
		{"machine with the target's name", Class{Machine: true, NamedPorts: map[string]uint32{"web": 8080}}, service, 8080},
		{"machine, by number", Class{Machine: true}, mesh.Port{Name: "http", Number: 80, Target: 8000}, 8000},
	} {
		if got, ok := targetPort(c.port, &c.class); got != c.want || ok != (c.want != 0) {
			t.Errorf("%s: %d, %v, want %d", c.name, got, ok, c.want)
		}
	}
}
