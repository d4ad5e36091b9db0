package stats

import (
	"cmp"
	"slices"
	"strconv"
)

// sumHTTP is an httpSeries added up over the workers.
type sumHTTP struct {
	prefix, listener                  string
	classes                           [6]int64
	http1, http2, reset, bad, timeout int64
	time                              counts
}

func (a *sumHTTP) add(b *sumHTTP) {
	for i := range a.classes {
		a.classes[i] += b.classes[i]
	}
	a.http1 += b.http1
	a.http2 += b.http2
	a.reset += b.reset
	a.bad += b.bad
	a.timeout += b.timeout
	for i := range a.time.buckets {
		a.time.buckets[i] += b.time.buckets[i]
	}
	a.time.sum += b.time.sum
}

func (a *sumHTTP) total() int64 {
	var n int64
	for _, c := range a.classes {
		n += c
	}
	return n
}

func (s *httpSeries) read() *sumHTTP {
	out := &sumHTTP{
		prefix: s.prefix, listener: s.listener, http1: int64(s.http1.Load()), http2: int64(s.http2.Load()),
		reset: int64(s.reset.Load()), bad: int64(s.bad.Load()), timeout: int64(s.timeout.Load()),
	}
	for i := range s.classes {
		out.classes[i] = int64(s.classes[i].Load())
	}
	out.time.add(&s.time)
	return out
}

// visitHTTP shows http.<prefix>.*, listener.<address>.http.<prefix>.* and tcp.<prefix>.*.
func visitHTTP(workers []*Worker, yield func(*Family)) {
	byPrefix, byListener := map[string]*sumHTTP{}, map[string]*sumHTTP{}
	merge := func(into map[string]*sumHTTP, id string, s *sumHTTP) {
		if have := into[id]; have != nil {
			have.add(s)
			return
		}
		c := *s
		into[id] = &c
	}
	tcps := map[string]*[3]int64{}
	for _, w := range workers {
		w.mu.Lock()
		for id, s := range w.http {
			v := s.read()
			merge(byPrefix, s.prefix, v)
			merge(byListener, id, v)
		}
		for p, s := range w.tcp {
			if tcps[p] == nil {
				tcps[p] = &[3]int64{}
			}
			tcps[p][0] += int64(s.total.Load())
			tcps[p][1] += int64(s.received.Load())
			tcps[p][2] += int64(s.sent.Load())
		}
		w.mu.Unlock()
	}
	visitManagers(byPrefix, yield)
	visitListenerHTTP(byListener, yield)
	visitTCP(tcps, yield)
}

func sortedByID[T any](m map[string]T) []string {
	ids := make([]string, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, cmp.Compare[string])
	return ids
}

// visitClasses shows downstream_rq_Nxx: in Prometheus' form one family, in
// Envoy's a name for each class.
func visitClasses(name string, ids []string, point func(id string) (prefix, labels string, s *sumHTTP), yield func(*Family)) {
	f := &Family{Name: name + "_xx", Kind: Counter}
	for class := 1; class <= 5; class++ {
		dotted := &Family{Suffix: "downstream_rq_" + strconv.Itoa(class) + "xx", Kind: Counter}
		for _, id := range ids {
			prefix, labels, s := point(id)
			n := s.classes[class]
			dotted.Points = append(dotted.Points, Point{Prefix: prefix, Value: n})
			f.Points = append(f.Points, Point{Labels: string(appendLabel([]byte(labels), "response_code_class", strconv.Itoa(class))), Value: n})
		}
		if len(dotted.Points) > 0 {
			yield(dotted)
		}
	}
	if len(f.Points) > 0 {
		yield(f)
	}
}

func visitManagers(sums map[string]*sumHTTP, yield func(*Family)) {
	ids := sortedByID(sums)
	if len(ids) == 0 {
		return
	}
	at := func(id string) (string, string, *sumHTTP) {
		return "http." + id, string(appendLabel(nil, "http_conn_manager_prefix", id)), sums[id]
	}
	for _, m := range []struct {
		name string
		get  func(*sumHTTP) int64
	}{
		{"downstream_rq_total", (*sumHTTP).total},
		{"downstream_rq_completed", func(s *sumHTTP) int64 { return s.total() - s.classes[0] }},
		{"downstream_rq_http1_total", func(s *sumHTTP) int64 { return s.http1 }},
		{"downstream_rq_http2_total", func(s *sumHTTP) int64 { return s.http2 }},
		{"downstream_rq_rx_reset", func(s *sumHTTP) int64 { return s.reset }},
		{"downstream_cx_protocol_error", func(s *sumHTTP) int64 { return s.bad }},
		{"downstream_rq_timeout", func(s *sumHTTP) int64 { return s.timeout }},
	} {
		f := &Family{Name: "envoy_http_" + m.name, Suffix: m.name, Kind: Counter}
		for _, id := range ids {
			prefix, labels, s := at(id)
			f.Points = append(f.Points, Point{Prefix: prefix, Labels: labels, Value: m.get(s)})
		}
		yield(f)
	}
	visitClasses("envoy_http_downstream_rq", ids, at, yield)
	f := &Family{Name: "envoy_http_downstream_rq_time", Suffix: "downstream_rq_time", Kind: Histogram}
	for _, id := range ids {
		prefix, labels, s := at(id)
		f.Points = append(f.Points, Point{Prefix: prefix, Labels: labels, Hist: &s.time})
	}
	yield(f)
}

func visitListenerHTTP(sums map[string]*sumHTTP, yield func(*Family)) {
	ids := sortedByID(sums)
	if len(ids) == 0 {
		return
	}
	at := func(id string) (string, string, *sumHTTP) {
		s := sums[id]
		labels := appendLabel(appendLabel(nil, "http_conn_manager_prefix", s.prefix), "listener_address", s.listener)
		return "listener." + s.listener + ".http." + s.prefix, string(labels), s
	}
	visitClasses("envoy_listener_http_downstream_rq", ids, at, yield)
	f := &Family{Name: "envoy_listener_http_downstream_rq_completed", Suffix: "downstream_rq_completed", Kind: Counter}
	for _, id := range ids {
		prefix, labels, s := at(id)
		f.Points = append(f.Points, Point{Prefix: prefix, Labels: labels, Value: s.total() - s.classes[0]})
	}
	yield(f)
}

func visitTCP(sums map[string]*[3]int64, yield func(*Family)) {
	ids := sortedByID(sums)
	if len(ids) == 0 {
		return
	}
	for i, name := range []string{"downstream_cx_total", "downstream_cx_rx_bytes_total", "downstream_cx_tx_bytes_total"} {
		f := &Family{Name: "envoy_tcp_" + name, Suffix: name, Kind: Counter}
		for _, id := range ids {
			f.Points = append(f.Points, Point{Prefix: "tcp." + id, Labels: string(appendLabel(nil, "tcp_prefix", id)), Value: sums[id][i]})
		}
		yield(f)
	}
}
