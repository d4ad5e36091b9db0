package dns_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshctl/meshctl/internal/local/dns"
)

func table() *dns.Table {
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "shop", Name: name} }
	services := []*corev1.Service{
		{ObjectMeta: meta("web"), Spec: corev1.ServiceSpec{ClusterIP: "10.96.1.1", Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}},
		{ObjectMeta: meta("db"), Spec: corev1.ServiceSpec{ClusterIP: "None"}},
		{ObjectMeta: meta("empty"), Spec: corev1.ServiceSpec{ClusterIP: "None"}},
		{ObjectMeta: meta("out"), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"}},
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Labels: map[string]string{discoveryv1.LabelServiceName: "db"}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.244.1.1"}, Hostname: new("db-0")},
			{Addresses: []string{"10.244.1.2"}},
			{Addresses: []string{"10.244.1.3"}, Conditions: discoveryv1.EndpointConditions{Ready: new(false)}},
		},
		Ports: []discoveryv1.EndpointPort{{Name: new("sql"), Port: new(int32(5432)), Protocol: new(corev1.ProtocolTCP)}},
	}
	return dns.Names("cluster.local", services, []*discoveryv1.EndpointSlice{slice})
}

// serve starts a server on loopback and returns its address.
func serve(t *testing.T, forward func(context.Context, []byte) ([]byte, error)) string {
	t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", udp.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := dns.New("cluster.local", forward, slog.New(slog.DiscardHandler))
	s.Set(table())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, udp, tcp) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return udp.LocalAddr().String()
}

// ask returns the answer as text: code, then records without their header.
func ask(t *testing.T, network, server, name string, kind uint16) string {
	t.Helper()
	q := new(mdns.Msg)
	q.SetQuestion(name, kind)
	c := mdns.Client{Net: network}
	r, _, err := c.Exchange(q, server)
	if err != nil {
		t.Fatal(err)
	}
	parts := []string{mdns.RcodeToString[r.Rcode]}
	for _, rr := range r.Answer {
		parts = append(parts, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	return strings.Join(parts, " ")
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	server := serve(t, func(_ context.Context, question []byte) ([]byte, error) {
		q := new(mdns.Msg)
		if err := q.Unpack(question); err != nil {
			return nil, err
		}
		if strings.HasPrefix(q.Question[0].Name, "fail") {
			return nil, errors.New("unreachable")
		}
		r := new(mdns.Msg)
		r.SetReply(q)
		rr, err := mdns.NewRR(q.Question[0].Name + " 60 IN A 192.0.2.7")
		if err != nil {
			return nil, err
		}
		r.Answer = append(r.Answer, rr)
		return r.Pack()
	})
	cases := []struct {
		name string
		kind uint16
		want string
	}{
		{"web.shop.svc.cluster.local.", mdns.TypeA, "NOERROR 10.96.1.1"},
		{"WEB.shop.svc.cluster.local.", mdns.TypeA, "NOERROR 10.96.1.1"},
		{"web.shop.svc.cluster.local.", mdns.TypeAAAA, "NOERROR"},
		{"_http._tcp.web.shop.svc.cluster.local.", mdns.TypeSRV, "NOERROR 0 100 80 web.shop.svc.cluster.local."},
		{"db.shop.svc.cluster.local.", mdns.TypeA, "NOERROR 10.244.1.1 10.244.1.2"},
		{"db-0.db.shop.svc.cluster.local.", mdns.TypeA, "NOERROR 10.244.1.1"},
		{"empty.shop.svc.cluster.local.", mdns.TypeA, "NOERROR"},
		{"out.shop.svc.cluster.local.", mdns.TypeA, "NOERROR example.com."},
		{"nothing.shop.svc.cluster.local.", mdns.TypeA, "NXDOMAIN"},
		{"web.shop.svc.cluster.local.shop.svc.cluster.local.", mdns.TypeA, "NXDOMAIN"},
		{"example.com.", mdns.TypeA, "NOERROR 192.0.2.7"},
		{"fail.example.com.", mdns.TypeA, "SERVFAIL"},
	}
	for _, tc := range cases {
		for _, network := range []string{"udp", "tcp"} {
			if got := ask(t, network, server, tc.name, tc.kind); got != tc.want {
				t.Errorf("%s %s by %s: %q, want %q", tc.name, mdns.TypeToString[tc.kind], network, got, tc.want)
			}
		}
	}
}

func TestClosedMeshRefusesOutsideNames(t *testing.T) {
	t.Parallel()
	if got := ask(t, "udp", serve(t, nil), "example.com.", mdns.TypeA); got != "REFUSED" {
		t.Errorf("got %s", got)
	}
}
