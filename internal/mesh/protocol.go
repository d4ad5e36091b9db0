package mesh

import "strings"

// Protocol is what a port speaks, under the names that Istio prints.
type Protocol string

// Protocols. ProtocolAuto is decided per connection, from its first bytes.
const (
	ProtocolAuto    Protocol = "Auto"
	ProtocolHTTP    Protocol = "HTTP"
	ProtocolHTTP2   Protocol = "HTTP2"
	ProtocolHTTPS   Protocol = "HTTPS" // TLS ended by the application: routed by SNI
	ProtocolGRPC    Protocol = "GRPC"
	ProtocolGRPCWeb Protocol = "GRPC-Web"
	ProtocolTCP     Protocol = "TCP"
	ProtocolTLS     Protocol = "TLS"
	ProtocolMongo   Protocol = "Mongo"
	ProtocolRedis   Protocol = "Redis"
	ProtocolMySQL   Protocol = "MySQL"
	ProtocolUDP     Protocol = "UDP"
)

// IsHTTP reports whether requests are understood.
func (p Protocol) IsHTTP() bool {
	switch p {
	case ProtocolHTTP, ProtocolHTTP2, ProtocolGRPC, ProtocolGRPCWeb:
		return true
	default:
		return false
	}
}

// IsHTTP2 reports whether HTTP/2 is spoken without being negotiated.
func (p Protocol) IsHTTP2() bool {
	return p == ProtocolHTTP2 || p == ProtocolGRPC || p == ProtocolGRPCWeb
}

// IsTLS reports whether connections carry TLS that is the application's own.
func (p Protocol) IsTLS() bool { return p == ProtocolHTTPS || p == ProtocolTLS }

// IsTCP reports whether only bytes are understood.
func (p Protocol) IsTCP() bool {
	switch p {
	case ProtocolTCP, ProtocolTLS, ProtocolHTTPS, ProtocolMongo, ProtocolRedis, ProtocolMySQL:
		return true
	default:
		return false
	}
}

// ParseProtocol reads a protocol name of a ServiceEntry or Gateway port, in any
// case; what is unknown is ProtocolAuto.
func ParseProtocol(name string) Protocol {
	switch strings.ToLower(name) {
	case "http":
		return ProtocolHTTP
	case "http2":
		return ProtocolHTTP2
	case "https":
		return ProtocolHTTPS
	case "grpc":
		return ProtocolGRPC
	case "grpc-web":
		return ProtocolGRPCWeb
	case "tcp":
		return ProtocolTCP
	case "tls":
		return ProtocolTLS
	case "mongo":
		return ProtocolMongo
	case "redis":
		return ProtocolRedis
	case "mysql":
		return ProtocolMySQL
	case "udp":
		return ProtocolUDP
	default:
		return ProtocolAuto
	}
}

// ChooseProtocol decides what a Kubernetes service port speaks: by appProtocol,
// else by the prefix of its name ("http", "grpc-web-x"), else by well-known port
// numbers of protocols in which the server speaks first, else by sniffing.
func ChooseProtocol(number uint32, name, appProtocol string, udp bool) Protocol {
	if udp {
		return ProtocolUDP
	}
	if appProtocol != "" {
		if p := appProtocolOf(appProtocol); p != ProtocolAuto {
			return p
		}
	}
	if p := ParseProtocol(name); p != ProtocolAuto {
		return p
	}
	if len(name) >= len("grpc-web") && strings.EqualFold(name[:len("grpc-web")], "grpc-web") {
		return ProtocolGRPCWeb
	}
	if prefix, _, ok := strings.Cut(name, "-"); ok {
		if p := ParseProtocol(prefix); p != ProtocolAuto {
			return p
		}
	}
	switch number {
	case 25, 53, 3306, 27017: // SMTP, DNS, MySQL, MongoDB
		return ProtocolTCP
	}
	return ProtocolAuto
}

func appProtocolOf(s string) Protocol {
	switch s {
	case "kubernetes.io/h2c":
		return ProtocolHTTP2
	case "kubernetes.io/ws":
		return ProtocolHTTP
	case "kubernetes.io/wss":
		return ProtocolHTTPS
	default:
		return ParseProtocol(s)
	}
}
