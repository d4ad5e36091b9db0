package admin

import (
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meshctl/meshctl/internal/proxy/listener"
	"github.com/meshctl/meshctl/internal/proxy/stats"
)

// addresses of a listener: those accepted on, else those configured.
func addresses(l *listener.Status) []netip.AddrPort {
	if len(l.Addrs) > 0 {
		return l.Addrs
	}
	return l.Listener.Addrs
}

func (s *Server) listeners(w http.ResponseWriter, r *http.Request) {
	all := s.o.Listeners()
	if r.URL.Query().Get("format") != "json" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		s.stream(w, func(b io.Writer) error {
			for i := range all {
				at := all[i].Listener.Pipe
				if a := addresses(&all[i]); len(a) > 0 {
					at = a[0].String()
				}
				if _, err := fmt.Fprintf(b, "%s::%s\n", all[i].Listener.Name, at); err != nil {
					return err
				}
			}
			return nil
		})
		return
	}
	out := &adminv3.Listeners{}
	for i := range all {
		st := &adminv3.ListenerStatus{Name: all[i].Listener.Name}
		for j, a := range addresses(&all[i]) {
			if j == 0 {
				st.LocalAddress = socketAddress(a)
			} else {
				st.AdditionalLocalAddresses = append(st.AdditionalLocalAddresses, socketAddress(a))
			}
		}
		if p := all[i].Listener.Pipe; p != "" {
			st.LocalAddress = pipeAddress(p)
		}
		out.ListenerStatuses = append(out.ListenerStatuses, st)
	}
	s.writeJSON(w, out)
}

func (s *Server) serverInfo(w http.ResponseWriter, _ *http.Request) {
	up := durationpb.New(s.o.Now().Sub(s.o.Began).Truncate(time.Second))
	s.writeJSON(w, &adminv3.ServerInfo{
		Version: s.o.Version, State: adminv3.ServerInfo_State(adminv3.ServerInfo_State_value[s.state()]),
		UptimeCurrentEpoch: up, UptimeAllEpochs: up, HotRestartVersion: "disabled", Node: s.o.Node,
		CommandLineOptions: &adminv3.CommandLineOptions{
			Concurrency: uint32(max(0, s.o.Concurrency)), ServiceCluster: s.o.Node.GetCluster(), ServiceNode: s.o.Node.GetId(),
			Mode: adminv3.CommandLineOptions_Serve, DisableHotRestart: true, LogLevel: levelName(s.o.Levels.all.Level()),
		},
	})
}

func (s *Server) memory(w http.ResponseWriter, _ *http.Request) {
	m := stats.ReadMemory()
	s.writeJSON(w, &adminv3.Memory{
		Allocated: m.Allocated, HeapSize: m.Heap, PageheapUnmapped: m.Unmapped, PageheapFree: m.Free, TotalPhysicalBytes: m.Total,
	})
}

// initDump lists what the configuration refers to and has not come.
func (s *Server) initDump(w http.ResponseWriter, _ *http.Request) {
	m := s.o.Snapshot().Missing
	out := &adminv3.UnreadyTargetsDumps{}
	for _, t := range []struct {
		name    string
		targets []string
	}{
		{"listeners that wait for routes or secrets", m.WarmingListeners},
		{"clusters that wait for endpoints or secrets", m.WarmingClusters},
		{"route tables that wait for clusters", m.HeldRoutes},
		{"missing route configurations", m.Routes},
		{"missing endpoints", m.Endpoints},
		{"missing clusters", m.Clusters},
		{"missing secrets", m.Secrets},
	} {
		if len(t.targets) > 0 {
			out.UnreadyTargetsDumps = append(out.UnreadyTargetsDumps, &adminv3.UnreadyTargetsDumps_UnreadyTargetsDump{Name: t.name, TargetNames: t.targets})
		}
	}
	s.writeJSON(w, out)
}

func (s *Server) certs(w http.ResponseWriter, _ *http.Request) {
	secrets := s.o.Snapshot().Secrets
	out := &adminv3.Certificates{}
	for _, n := range slices.Sorted(maps.Keys(secrets)) {
		sec := secrets[n]
		c := &adminv3.Certificate{}
		if sec.Certificate != nil {
			for _, der := range sec.Certificate.Certificate {
				if x, err := x509.ParseCertificate(der); err == nil {
					c.CertChain = append(c.CertChain, s.certificate(n, x))
				}
			}
		}
		if sec.Validation != nil {
			for _, x := range sec.Validation.CAs {
				c.CaCert = append(c.CaCert, s.certificate(n, x))
			}
		}
		if len(c.CertChain)+len(c.CaCert) > 0 {
			out.Certificates = append(out.Certificates, c)
		}
	}
	s.writeJSON(w, out)
}

// certificate describes x; path is the name of the secret, as nothing comes from files.
func (s *Server) certificate(path string, x *x509.Certificate) *adminv3.CertificateDetails {
	out := &adminv3.CertificateDetails{
		Path: path, SerialNumber: fmt.Sprintf("%x", x.SerialNumber), ValidFrom: timestamppb.New(x.NotBefore), ExpirationTime: timestamppb.New(x.NotAfter),
	}
	if left := x.NotAfter.Sub(s.o.Now()); left > 0 {
		out.DaysUntilExpiration = uint64(left.Hours() / 24)
	}
	for _, n := range x.DNSNames {
		out.SubjectAltNames = append(out.SubjectAltNames, &adminv3.SubjectAlternateName{Name: &adminv3.SubjectAlternateName_Dns{Dns: n}})
	}
	for _, u := range x.URIs {
		out.SubjectAltNames = append(out.SubjectAltNames, &adminv3.SubjectAlternateName{Name: &adminv3.SubjectAlternateName_Uri{Uri: u.String()}})
	}
	for _, ip := range x.IPAddresses {
		out.SubjectAltNames = append(out.SubjectAltNames, &adminv3.SubjectAlternateName{Name: &adminv3.SubjectAlternateName_IpAddress{IpAddress: ip.String()}})
	}
	return out
}
