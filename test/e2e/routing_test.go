//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/load"
)

var jason = []string{"end-user", "jason"}

func testAllV1(t *testing.T, m *mesh) {
	m.apply(t, "all-v1")
	within(t, m.shares(t, 200, nil), map[string]float64{"v1": 100}, 0)
}

func testCanary(t *testing.T, m *mesh) {
	m.apply(t, "reviews-90-10")
	within(t, m.shares(t, 2000, nil), map[string]float64{"v1": 90, "v3": 10}, 3)
}

func testHalf(t *testing.T, m *mesh) {
	m.apply(t, "reviews-50-v3")
	within(t, m.shares(t, 2000, nil), map[string]float64{"v1": 50, "v3": 50}, 4)
}

func testV3(t *testing.T, m *mesh) {
	m.apply(t, "reviews-v3")
	within(t, m.shares(t, 200, nil), map[string]float64{"v3": 100}, 0)
}

func testOneUser(t *testing.T, m *mesh) {
	m.apply(t, "reviews-test-v2")
	within(t, m.shares(t, 200, http.Header{"End-User": {"jason"}}), map[string]float64{"v2": 100}, 0)
	within(t, m.shares(t, 200, http.Header{"End-User": {"martha"}}), map[string]float64{"v1": 100}, 0)
	within(t, m.shares(t, 200, nil), map[string]float64{"v1": 100}, 0)
}

// The sample's story: the delay of 7 s is within what reviews waits, but not
// within what the page does.
func testDelay(t *testing.T, m *mesh) {
	m.apply(t, "reviews-test-v2", "ratings-test-delay")
	reviews := m.from(m.pod(t, "productpage-v1"), m.service(t, "reviews").ClusterIP+":9080")
	a, err := ask(t, reviews, "http://reviews:9080/reviews/0", jason...)
	if err != nil || a.code != 200 || a.took < 7*time.Second || a.took > 9500*time.Millisecond || !strings.Contains(a.body, `"stars"`) {
		t.Errorf("reviews answers jason %s %v, want its stars after 7 s", a, err)
	}
	a = m.get(t, "/productpage", jason...)
	if v := a.header.Get("X-Bookinfo-Reviews"); a.code != 200 || v != "unavailable" || a.took < 5900*time.Millisecond || a.took > 7500*time.Millisecond {
		t.Errorf("the page for jason is %d after %s with reviews of %q, want unavailable after 6 s", a.code, a.took, v)
	}
	if a := m.get(t, "/productpage"); a.code != 200 || a.took > 2*time.Second || a.header.Get("X-Bookinfo-Reviews") != "v1" {
		t.Errorf("the page for others is %d after %s with reviews of %q", a.code, a.took, a.header.Get("X-Bookinfo-Reviews"))
	}
}

func testAbort(t *testing.T, m *mesh) {
	m.apply(t, "reviews-test-v2", "ratings-test-abort")
	a := m.get(t, "/productpage", jason...)
	if a.code != 200 || !strings.Contains(a.body, "Ratings service is currently unavailable") || a.header.Get("X-Bookinfo-Reviews") != "v2" || a.took > 2*time.Second {
		t.Errorf("for jason: %d after %s with reviews of %q", a.code, a.took, a.header.Get("X-Bookinfo-Reviews"))
	}
	if a := m.get(t, "/productpage"); a.code != 200 || strings.Contains(a.body, "currently unavailable") {
		t.Errorf("for others: %s", a)
	}
}

// A canary by an HTTPRoute among callers in the mesh, and a Gateway that gets a proxy
// and a published port of its own.
func testGatewayAPI(t *testing.T, m *mesh) {
	for _, name := range []string{"reviews-versions", "route-reviews-90-10", "bookinfo-gateway"} {
		m.applyFile(t, filepath.Join(samples, "gateway-api", name+".yaml"))
	}
	within(t, m.shares(t, 2000, nil), map[string]float64{"v1": 90, "v3": 10}, 3)
	eventually(t, "the page through the Gateway", func() error {
		status, err := m.Status(t.Context())
		if err != nil {
			return err
		}
		for _, p := range status.Publications {
			if p.Name != "default/bookinfo-istio:80" {
				continue
			}
			a, err := ask(t, nil, p.URL+"/productpage")
			if err != nil {
				return err
			}
			if a.code != http.StatusOK {
				return fmt.Errorf("the page is %d", a.code)
			}
			return nil
		}
		return errors.New("the Gateway is not published")
	})
	out := m.run(t, "route", "test", "--from", "productpage-v1", "http://reviews:9080/reviews/1")
	if !strings.Contains(out, "HTTPRoute default/reviews spec.rules[0]") {
		t.Errorf("route test does not name the HTTPRoute:\n%s", out)
	}
}

func testMirror(t *testing.T, m *mesh) {
	m.apply(t, "reviews-mirror")
	const n = 50
	v3 := m.pod(t, "reviews-v3")
	before := strings.Count(m.log(t, v3, ""), "/reviews/")
	within(t, m.shares(t, n, nil), map[string]float64{"v1": 100}, 0)
	eventually(t, "the copies", func() error {
		if got := strings.Count(m.log(t, v3, ""), "/reviews/") - before; got < n {
			return missing("copies", got, n)
		}
		return nil
	})
}

const ratingsGone = "Ratings service is currently unavailable"

// withoutRetries is the sample's route without what it is about.
const withoutRetries = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: ratings
spec:
  hosts: [ratings]
  http:
    - route:
        - destination: {host: ratings}
      retries: {attempts: 0}
`

func testTimeoutRetry(t *testing.T, m *mesh) {
	m.apply(t, "reviews-timeout-retry")
	if gone := m.starless(t, 300); gone != 0 {
		t.Errorf("%.1f %% of the pages have no stars, although calls are tried again", gone)
	}
	t.Run("no retries", func(t *testing.T) {
		m.applyText(t, withoutRetries)
		if gone := m.starless(t, 300); gone < 10 || gone > 45 {
			t.Errorf("%.1f %% of the pages have no stars, want about a quarter", gone)
		}
		// Taking the manifest back takes the sample's route with it.
	})
	m.apply(t, "reviews-timeout-retry", "ratings-test-delay")
	a := m.get(t, "/productpage", jason...)
	if a.code != 200 || a.header.Get("X-Bookinfo-Reviews") != "unavailable" || a.took < 950*time.Millisecond || a.took > 2500*time.Millisecond {
		t.Errorf("the page for jason is %d after %s with reviews of %q, want unavailable after 1 s", a.code, a.took, a.header.Get("X-Bookinfo-Reviews"))
	}
}

// starless is how many pages of n say that ratings are missing, in percent.
func (m *mesh) starless(t *testing.T, n int64) float64 {
	t.Helper()
	r, err := load.Run(t.Context(), load.Options{
		URL: m.url + "/productpage", Requests: n, Connections: 4, GroupByBody: regexpOf(ratingsGone),
	})
	if err != nil {
		t.Fatal(err)
	}
	noFailures(t, r, n)
	return r.Groups[ratingsGone].Share * 100
}

func testEgress(t *testing.T, m *mesh) {
	m.apply(t, "egress-serviceentry")
	eventually(t, "the outside catalogue's answer", func() error {
		if a := m.get(t, "/productpage"); !strings.Contains(a.body, "The Shop Outside") {
			return errorOf("details are of %q: %s", a.header.Get("X-Bookinfo-Details"), a)
		}
		return nil
	})
	m.run(t, "delete", "serviceentry", "books-example-com")
	m.settled(t)
	if a := m.get(t, "/productpage"); a.code != 200 || strings.Contains(a.body, "The Shop Outside") || a.header.Get("X-Bookinfo-Details") != "unavailable" {
		t.Errorf("without the ServiceEntry: details are of %q", a.header.Get("X-Bookinfo-Details"))
	}
}

func testTCP(t *testing.T, m *mesh) {
	m.apply(t, "tcp-echo")
	count := func(t *testing.T, url string, dial load.DialFunc) {
		t.Helper()
		const n = 1500
		r, err := load.Run(t.Context(), load.Options{
			URL: url, Requests: n, Connections: 4, NoKeepAlive: true, Dial: dial, GroupByBody: regexpOf("^(one|two) "),
		})
		if err != nil {
			t.Fatal(err)
		}
		noFailures(t, r, n)
		got := map[string]float64{}
		for word, g := range r.Groups {
			got[word] = g.Share * 100
		}
		within(t, got, map[string]float64{"one": 80, "two": 20}, 5)
	}
	t.Run("inside", func(t *testing.T) {
		address := m.service(t, "tcp-echo").ClusterIP + ":9000"
		count(t, "tcp://"+address, m.from(m.pod(t, "productpage-v1"), address))
	})
	t.Run("gateway", func(t *testing.T) {
		s, err := m.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range s.Publications {
			if strings.HasSuffix(p.Target, ":31400") {
				count(t, "tcp://"+p.Address, nil)
				return
			}
		}
		t.Errorf("the gateway's port 31400 is not on this machine: %+v", s.Publications)
	})
}
