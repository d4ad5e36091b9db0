package agent

import "testing"

func TestWorthTrimming(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for name, c := range map[string]struct {
		now  heap
		want bool
	}{
		"nothing to give back":          {heap{live: 10 * mib, objects: 10*mib + mib/2, free: mib / 4, allocated: 100 * mib}, false},
		"a little more than a MiB":      {heap{live: 4 * mib, objects: 5 * mib, free: mib / 4, allocated: 100 * mib}, true},
		"garbage of a burst":            {heap{live: 10 * mib, objects: 20 * mib, allocated: 100 * mib}, true},
		"free pages":                    {heap{live: 10 * mib, objects: 10 * mib, free: 8 * mib, allocated: 100 * mib}, true},
		"the burst goes on":             {heap{live: 10 * mib, objects: 20 * mib, allocated: 101 * mib}, false},
		"little compared with the rest": {heap{live: 400 * mib, objects: 410 * mib, free: 30 * mib, allocated: 100 * mib}, false},
		"collected since it was filled": {heap{live: 10 * mib, objects: 8 * mib, free: mib, allocated: 100 * mib}, false},
		"never collected":               {heap{objects: 6 * mib, allocated: 100 * mib}, true},
	} {
		if got := c.now.worthTrimming(heap{allocated: 100 * mib}); got != c.want {
			t.Errorf("%s: worth trimming %t, want %t", name, got, c.want)
		}
	}
}

func TestReadHeap(t *testing.T) {
	t.Parallel()
	if h := readHeap(); h.objects == 0 || h.allocated == 0 {
		t.Fatalf("the runtime's metrics have other names: %+v", h)
	}
}
