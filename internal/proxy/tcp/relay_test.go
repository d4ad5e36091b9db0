package tcp

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

func TestEcho(t *testing.T) {
	t.Parallel()
	up := backend(t, echo)
	r := newRig(t, rigOptions{
		tcp:      &snapshot.TCPProxy{Cluster: "a"},
		network:  []snapshot.NetworkFilter{{Config: &snapshot.IstioStats{TCPReporting: time.Millisecond}}},
		clusters: []*snapshot.Cluster{cluster("a", up)},
	})
	c := r.dial(t)
	data := make([]byte, 3<<20)
	_, _ = rand.Read(data)
	go func() {
		_, _ = c.Write(data)
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("got %d bytes, err %v", len(got), err)
	}
	c.Close()
	rec := r.out.next(t)
	if rec.BytesReceived != uint64(len(data)) || rec.BytesSent != uint64(len(data)) || rec.Flags != 0 || rec.Upstream != up ||
		rec.Cluster != r.snap.Clusters["a"] || rec.ClusterName != "a" || rec.Attempts != 1 || rec.Protocol != 0 || !rec.UpstreamLocal.IsValid() || rec.End <= 0 {
		t.Errorf("record %+v", rec)
	}
	if r.out.opened.Load() != 1 || r.out.progress[0].Load() != uint64(len(data)) || r.out.progress[1].Load() != uint64(len(data)) {
		t.Errorf("reported %d opened, %d received, %d sent", r.out.opened.Load(), r.out.progress[0].Load(), r.out.progress[1].Load())
	}
}

func TestServerFirst(t *testing.T) {
	t.Parallel()
	up := backend(t, func(c *net.TCPConn) {
		_, _ = c.Write([]byte("220 ready\r\n"))
		echo(c)
	})
	r := newRig(t, rigOptions{tcp: &snapshot.TCPProxy{Cluster: "a"}, clusters: []*snapshot.Cluster{cluster("a", up)}})
	c := r.dial(t)
	got := make([]byte, 11)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "220 ready\r\n" {
		t.Fatalf("%q %v", got, err)
	}
}

// Either side may close its half first and still be answered.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	t.Run("client first", func(t *testing.T) {
		t.Parallel()
		up := backend(t, func(c *net.TCPConn) {
			all, _ := io.ReadAll(c)
			_, _ = c.Write([]byte("got " + string(all)))
			_ = c.Close()
		})
		r := newRig(t, rigOptions{tcp: &snapshot.TCPProxy{Cluster: "a"}, clusters: []*snapshot.Cluster{cluster("a", up)}})
		c := r.dial(t)
		_, _ = c.Write([]byte("hello"))
		_ = c.CloseWrite()
		if all, err := io.ReadAll(c); err != nil || string(all) != "got hello" {
			t.Errorf("%q %v", all, err)
		}
		c.Close()
		if rec := r.out.next(t); rec.Flags != 0 {
			t.Errorf("flags %v", rec.Flags)
		}
	})
	t.Run("server first", func(t *testing.T) {
		t.Parallel()
		got := make(chan string, 1)
		up := backend(t, func(c *net.TCPConn) {
			_, _ = c.Write([]byte("bye"))
			_ = c.CloseWrite()
			all, _ := io.ReadAll(c)
			got <- string(all)
			_ = c.Close()
		})
		r := newRig(t, rigOptions{tcp: &snapshot.TCPProxy{Cluster: "a"}, clusters: []*snapshot.Cluster{cluster("a", up)}})
		c := r.dial(t)
		if all, err := io.ReadAll(c); err != nil || string(all) != "bye" {
			t.Fatalf("%q %v", all, err)
		}
		_, _ = c.Write([]byte("after"))
		_ = c.CloseWrite()
		if s := <-got; s != "after" {
			t.Errorf("server got %q", s)
		}
		if rec := r.out.next(t); rec.Flags != 0 || rec.BytesReceived != 5 || rec.BytesSent != 3 {
			t.Errorf("record %+v", rec)
		}
	})
}

func TestRefused(t *testing.T) {
	t.Parallel()
	dead := closedPort(t)
	limited := cluster("limited", dead)
	limited.Breakers = &snapshot.Breakers{}
	for name, tc := range map[string]struct {
		cfg      *snapshot.TCPProxy
		cluster  *snapshot.Cluster
		flags    flow.Flags
		attempts int
	}{
		"no cluster":     {&snapshot.TCPProxy{Cluster: "x"}, cluster("a"), flow.FlagNoCluster, 0},
		"no endpoint":    {&snapshot.TCPProxy{Cluster: "a"}, cluster("a"), flow.FlagNoHealthyUpstream, 1},
		"limit":          {&snapshot.TCPProxy{Cluster: "limited"}, limited, flow.FlagUpstreamOverflow, 1},
		"refused":        {&snapshot.TCPProxy{Cluster: "a"}, cluster("a", dead), flow.FlagUpstreamConnectionFailure | flow.FlagUpstreamRetryLimit, 1},
		"refused thrice": {&snapshot.TCPProxy{Cluster: "a", MaxConnectAttempts: 3, Backoff: &snapshot.Backoff{Base: time.Millisecond}}, cluster("a", dead), flow.FlagUpstreamConnectionFailure | flow.FlagUpstreamRetryLimit, 3},
		"tunnel":         {&snapshot.TCPProxy{Cluster: "a", Tunnel: &snapshot.Tunnel{}}, cluster("a", dead), flow.FlagLocalReset, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{tcp: tc.cfg, clusters: []*snapshot.Cluster{tc.cluster}})
			c := r.dial(t)
			if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("read %d %v", n, err)
			}
			rec := r.out.next(t)
			if rec.Flags != tc.flags || rec.Attempts != tc.attempts || rec.Details == "" || rec.ClusterName != tc.cfg.Cluster {
				t.Errorf("flags %v, attempts %d, details %q, cluster %q", rec.Flags, rec.Attempts, rec.Details, rec.ClusterName)
			}
			if tc.flags&flow.FlagUpstreamConnectionFailure != 0 && (rec.UpstreamFailure == "" || rec.Upstream != dead) {
				t.Errorf("failure %q at %v", rec.UpstreamFailure, rec.Upstream)
			}
		})
	}
}

// Another endpoint is tried, and nothing the client sent meanwhile is lost.
func TestRetryElsewhere(t *testing.T) {
	t.Parallel()
	up := backend(t, echo)
	hosts := []netip.AddrPort{closedPort(t), up}
	r := newRig(t, rigOptions{tcp: &snapshot.TCPProxy{Cluster: "a", MaxConnectAttempts: 10}, clusters: []*snapshot.Cluster{cluster("a", hosts...)}})
	for range 10 {
		c := r.dial(t)
		_, _ = c.Write([]byte("hello"))
		_ = c.CloseWrite()
		if all, err := io.ReadAll(c); err != nil || string(all) != "hello" {
			t.Fatalf("%q %v", all, err)
		}
		c.Close()
		if rec := r.out.next(t); rec.Flags != 0 || rec.UpstreamFailure != "" || rec.Upstream != up {
			t.Fatalf("record %+v", rec)
		}
	}
}

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

func TestResets(t *testing.T) {
	t.Parallel()
	t.Run("client", func(t *testing.T) {
		t.Parallel()
		got := make(chan error, 1)
		up := backend(t, func(c *net.TCPConn) {
			_, _ = c.Write([]byte("x"))
			_, err := io.Copy(io.Discard, c)
			got <- err
		})
		r := newRig(t, rigOptions{tcp: &snapshot.TCPProxy{Cluster: "a"}, clusters: []*snapshot.Cluster{cluster("a", up)}})
		c := r.dial(t)
		_, _ = io.ReadFull(c, make([]byte, 1))
		reset(c)
		if err := <-got; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("server saw %v", err)
		}
		if rec := r.out.next(t); rec.Flags != flow.FlagDownstreamConnectionTermination {
			t.Errorf("flags %v", rec.Flags)
		}
	})
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		up := backend(t, func(c *net.TCPConn) {
			_, _ = io.ReadFull(c, make([]byte, 1))
			reset(c)
		})
		r := newRig(t, rigOptions{tcp: &snapshot.TCPProxy{Cluster: "a"}, clusters: []*snapshot.Cluster{cluster("a", up)}})
		c := r.dial(t)
		_, _ = c.Write([]byte("x"))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("client saw %v", err)
		}
		if rec := r.out.next(t); rec.Flags != flow.FlagUpstreamConnectionTermination || rec.UpstreamFailure == "" {
			t.Errorf("flags %v, failure %q", rec.Flags, rec.UpstreamFailure)
		}
	})
	t.Run("client while connecting", func(t *testing.T) {
		t.Parallel()
		// TEST-NET-1 is not routed; whether connecting hangs or fails at once, the
		// client is the one that goes.
		cl := cluster("a", closedPort(t))
		r := newRig(t, rigOptions{
			tcp:      &snapshot.TCPProxy{Cluster: "a", MaxConnectAttempts: 50, Backoff: &snapshot.Backoff{Base: time.Hour}},
			clusters: []*snapshot.Cluster{cl},
		})
		c := r.dial(t)
		<-r.down
		reset(c)
		if rec := r.out.next(t); rec.Flags != flow.FlagDownstreamConnectionTermination || rec.Attempts != 1 {
			t.Errorf("flags %v, attempts %d", rec.Flags, rec.Attempts)
		}
	})
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	up := backend(t, echo)
	for name, tc := range map[string]struct {
		cfg   snapshot.TCPProxy
		end   string
		flags flow.Flags
	}{
		"idle":     {snapshot.TCPProxy{IdleTimeout: 20 * time.Millisecond}, endIdle, 0},
		"duration": {snapshot.TCPProxy{MaxDuration: 20 * time.Millisecond}, endDuration, flow.FlagDurationTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := tc.cfg
			cfg.Cluster = "a"
			r := newRig(t, rigOptions{tcp: &cfg, clusters: []*snapshot.Cluster{cluster("a", up)}})
			c := r.dial(t)
			_, _ = c.Write([]byte("hello"))
			_, _ = io.ReadAll(c)
			rec := r.out.next(t)
			if rec.ConnEnd != tc.end || rec.Flags != tc.flags || rec.BytesSent != 5 || rec.End < 20*time.Millisecond {
				t.Errorf("end %q, flags %v, %d bytes, after %v", rec.ConnEnd, rec.Flags, rec.BytesSent, rec.End)
			}
		})
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	up := backend(t, echo)
	r := newRig(t, rigOptions{tcp: &snapshot.TCPProxy{Cluster: "a"}, clusters: []*snapshot.Cluster{cluster("a", up)}})
	c := r.dial(t)
	w := (<-r.down).Worker()
	on(w, func() { r.p[w.Index()].DrainChain(func(*flow.Conn) bool { return false }, 0) })
	_, _ = c.Write([]byte("x"))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	on(w, func() {
		r.p[w.Index()].DrainChain(func(i *flow.Conn) bool { return i.Chain == r.chain }, time.Millisecond)
	})
	_, _ = io.ReadAll(c)
	if rec := r.out.next(t); rec.ConnEnd != endDrained {
		t.Errorf("end %q", rec.ConnEnd)
	}
}

// A side that does not read makes the other side wait, not the proxy grow.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	for name, slowClient := range map[string]bool{"client": true, "server": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flood := func(c *net.TCPConn) {
				b := make([]byte, 1<<20)
				for {
					if _, err := c.Write(b); err != nil {
						return
					}
				}
			}
			stop := make(chan struct{})
			var wg sync.WaitGroup
			up := backend(t, func(c *net.TCPConn) {
				wg.Add(1)
				defer wg.Done()
				if slowClient {
					flood(c)
				} else {
					<-stop
					_, _ = io.Copy(io.Discard, c)
				}
			})
			r := newRig(t, rigOptions{tcp: &snapshot.TCPProxy{Cluster: "a"}, clusters: []*snapshot.Cluster{cluster("a", up)}})
			c := r.dial(t)
			if !slowClient {
				wg.Go(func() { flood(c) })
			}
			d := <-r.down
			w := d.Worker()
			p := r.p[w.Index()]
			const bound = defaultBuffer + 512<<10
			stuck := 0
			for stuck < 200 {
				var waiting int
				var paused bool
				on(w, func() {
					x := p.first
					if x == nil || x.up == nil || !x.connected {
						return
					}
					if slowClient {
						waiting, paused = x.down.Buffered(), x.up.Paused()
					} else {
						waiting, paused = x.up.Buffered(), x.down.Paused()
					}
				})
				if waiting > bound {
					t.Fatalf("%d bytes wait", waiting)
				}
				if paused {
					stuck++
				}
			}
			close(stop)
			reset(c)
			r.out.next(t)
		})
	}
}

// What is sent arrives, whatever the sizes of pieces in both directions.
func TestRelayProperty(t *testing.T) {
	t.Parallel()
	up := backend(t, echo)
	r := newRig(t, rigOptions{tcp: &snapshot.TCPProxy{Cluster: "a"}, clusters: []*snapshot.Cluster{cluster("a", up)}})
	rapid.Check(t, func(rt *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(1, 200<<10), 1, 10).Draw(rt, "sizes")
		c := r.dial(t)
		defer c.Close()
		var want []byte
		for i, n := range sizes {
			want = append(want, bytes.Repeat([]byte{byte(i)}, n)...)
		}
		go func() {
			rest := want
			for _, n := range sizes {
				_, _ = c.Write(rest[:n])
				rest = rest[n:]
			}
			_ = c.CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, want) {
			rt.Fatalf("%d bytes of %d, %v", len(got), len(want), err)
		}
	})
}

type dynamic map[string]string

func (d dynamic) FilterState(k string) ([]byte, bool) {
	v, ok := d[k]
	return []byte(v), ok
}
func (dynamic) DynamicMetadata(string, []string) (any, bool) { return nil, false }

// Filter state chooses the cluster, as sni_cluster wants it.
func TestClusterFromState(t *testing.T) {
	t.Parallel()
	up := backend(t, echo)
	r := newRig(t, rigOptions{
		tcp: &snapshot.TCPProxy{Cluster: "none"}, clusters: []*snapshot.Cluster{cluster("b", up)},
		state: dynamic{snapshot.KeyTCPCluster: "b"},
	})
	c := r.dial(t)
	_ = c.CloseWrite()
	_, _ = io.ReadAll(c)
	if rec := r.out.next(t); rec.ClusterName != "b" || rec.Flags != 0 {
		t.Errorf("cluster %q, flags %v", rec.ClusterName, rec.Flags)
	}
}

func TestSourceHash(t *testing.T) {
	t.Parallel()
	var hosts []netip.AddrPort
	for range 5 {
		hosts = append(hosts, backend(t, echo))
	}
	cl := cluster("a", hosts...)
	cl.LB.Policy = snapshot.LBMaglev
	r := newRig(t, rigOptions{tcp: &snapshot.TCPProxy{Cluster: "a", HashSourceIP: true}, clusters: []*snapshot.Cluster{cl}})
	var seen []netip.AddrPort
	for range 10 {
		c := r.dial(t)
		_ = c.CloseWrite()
		_, _ = io.ReadAll(c)
		c.Close()
		seen = append(seen, r.out.next(t).Upstream)
	}
	slices.SortFunc(seen, netip.AddrPort.Compare)
	if n := len(slices.Compact(seen)); n != 1 {
		t.Errorf("one source reached %d endpoints", n)
	}
}

// The choice is in proportion to weight and never one of weight 0.
func TestPickWeighted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var ws []snapshot.TCPTarget
		var total uint64
		for i, w := range rapid.SliceOfN(rapid.Uint32Range(0, 50), 1, 6).Draw(t, "weights") {
			ws = append(ws, snapshot.TCPTarget{Cluster: strings.Repeat("c", i+1), Weight: w})
			total += uint64(w)
		}
		if total == 0 {
			return
		}
		got := map[string]uint64{}
		for n := range total {
			got[pickWeighted(ws, n+7*total).Cluster]++
		}
		for _, w := range ws {
			if got[w.Cluster] != uint64(w.Weight) {
				t.Fatalf("%q: %d of %d, want %d", w.Cluster, got[w.Cluster], total, w.Weight)
			}
		}
	})
}
