package pod

import (
	"slices"
	"testing"
)

// How programs of several languages say that a port is taken.
func TestPortsInOutput(t *testing.T) {
	t.Parallel()
	for output, want := range map[string][]uint16{
		"listen tcp :9080: bind: address already in use":                                                 {9080},
		"listen tcp 127.9.3.1:9080: bind: address already in use":                                        {9080},
		"Error: listen EADDRINUSE: address already in use :::3000":                                       {3000},
		"Error: listen EADDRINUSE: address already in use 0.0.0.0:3000":                                  {3000},
		"[Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): address already in use": {98, 8000},
		"panic: runtime error at main.go:12":                                                             nil,
		"":                                                                                               nil,
	} {
		if got := portsIn(output, nil); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", output, got, want)
		}
	}
	if got := portsIn("listen tcp :9080: bind: address already in use", []uint16{9080}); len(got) != 0 {
		t.Errorf("a known port: %v", got)
	}
}
