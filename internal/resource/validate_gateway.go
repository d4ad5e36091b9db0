package resource

import (
	"fmt"
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// serverProtocols are what a Gateway's port may speak.
var serverProtocols = []string{"HTTP", "HTTPS", "HTTP2", "HTTP_PROXY", "GRPC", "GRPC-WEB", "GRPC-Web", "TCP", "TLS", "MONGO", "MYSQL", "REDIS", "HBONE"}

func (c *check) gateway(s *networkingv1alpha3.Gateway) {
	if len(s.GetServers()) == 0 {
		c.errorf("spec", "add servers", "the Gateway has no servers")
	}
	if len(s.GetSelector()) == 0 {
		c.warnf("spec", "it applies to every gateway of the mesh", "add selector, as in istio: ingressgateway", "the Gateway selects no workload")
	}
	c.labels("spec.selector", s.GetSelector())
	names, portNames := map[string]string{}, map[string]string{}
	for i, server := range s.GetServers() {
		path := item("spec.servers", i)
		if server.GetName() != "" {
			c.problem(path+".name", subdomainProblem(strings.ToLower(server.GetName())), "")
			c.unique("server name", names, server.GetName(), path+".name")
		}
		c.server(path, server)
		if p := server.GetPort(); p.GetName() != "" {
			c.unique("port name", portNames, p.GetName(), path+".port.name")
		}
	}
}

func (c *check) server(path string, s *networkingv1alpha3.Server) {
	c.serverPort(path, s)
	c.bind(path+".bind", s.GetBind())
	if s.GetDefaultEndpoint() != "" {
		c.warnf(path+".defaultEndpoint", "none", "remove it", "defaultEndpoint of a Gateway has no effect")
	}
	if len(s.GetHosts()) == 0 {
		c.errorf(path, `add hosts, "*" for all`, "the server has no hosts")
	}
	for i, h := range s.GetHosts() {
		c.gatewayHost(item(path+".hosts", i), h)
	}
	protocol := strings.ToUpper(s.GetPort().GetProtocol())
	tls := s.GetTls()
	switch {
	case tls == nil && (protocol == "HTTPS" || protocol == "TLS"):
		c.errorf(path, "add tls with a mode and credentialName", "a server of protocol %s needs tls", protocol)
	case tls != nil && (protocol == "HTTP" || protocol == "HTTP2" || protocol == "GRPC") && !onlyRedirects(tls):
		c.errorf(path+".tls", "use protocol HTTPS, or only tls.httpsRedirect", "a server of protocol %s speaks no TLS", protocol)
	case tls.GetHttpsRedirect() && protocol != "HTTP" && protocol != "HTTP2" && protocol != "":
		c.errorf(path+".tls.httpsRedirect", "remove it", "only HTTP servers can redirect to HTTPS, not %s", protocol)
	}
	if tls != nil && !onlyRedirects(tls) {
		c.serverTLS(path+".tls", tls)
	}
}

func (c *check) serverPort(path string, s *networkingv1alpha3.Server) {
	p := s.GetPort()
	if p == nil {
		c.errorf(path, "add port.number, port.name and port.protocol", "the server has no port")
		return
	}
	if strings.HasPrefix(s.GetBind(), "unix://") {
		if p.GetNumber() != 0 {
			c.errorf(path+".port.number", "use 0", "a Unix socket has no port number")
		}
	} else {
		c.problem(path+".port.number", portProblem(p.GetNumber()), "")
	}
	switch {
	case p.GetProtocol() == "":
		c.errorf(path+".port", "add protocol, such as HTTP", "the port has no protocol")
	case !slices.ContainsFunc(serverProtocols, func(s string) bool { return strings.EqualFold(s, p.GetProtocol()) }):
		c.errorf(path+".port.protocol", didYouMean(p.GetProtocol(), serverProtocols), "%s is not a protocol: known are %s", quoted(p.GetProtocol()), strings.Join(serverProtocols, ", "))
	}
	if p.GetName() == "" {
		c.errorf(path+".port", "add name, such as http", "the port has no name")
	} else {
		c.problem(path+".port.name", labelOrUpperProblem(p.GetName()), "")
	}
}

// onlyRedirects reports TLS settings that do no more than send clients to HTTPS.
func onlyRedirects(t *networkingv1alpha3.ServerTLSSettings) bool {
	return t.GetHttpsRedirect() && t.GetMode() == networkingv1alpha3.ServerTLSSettings_PASSTHROUGH &&
		!hasServerFiles(t) && t.GetCredentialName() == "" && len(t.GetCredentialNames()) == 0
}

func hasServerFiles(t *networkingv1alpha3.ServerTLSSettings) bool {
	return t.GetServerCertificate() != "" || t.GetPrivateKey() != "" || t.GetCaCertificates() != "" || len(t.GetTlsCertificates()) > 0
}

// bind checks the address a port listens on.
func (c *check) bind(path, bind string) {
	switch {
	case bind == "":
	case strings.HasPrefix(bind, "unix://"):
		c.problem(path, unixProblem(bind), "")
	default:
		c.problem(path, ipProblem(bind), "write an IP address or unix:///path")
	}
}

// unixProblem checks unix:///path and unix://@abstract.
func unixProblem(s string) string {
	rest := strings.TrimPrefix(s, "unix://")
	switch {
	case rest == "" || rest[0] != '/' && rest[0] != '@':
		return fmt.Sprintf("%s: the path of a Unix socket must be absolute", quoted(s))
	case strings.HasSuffix(rest, "/"):
		return fmt.Sprintf("%s is a folder, not a socket", quoted(s))
	case len(rest) > 107:
		return fmt.Sprintf("%s: the path of a Unix socket has at most 107 characters", quoted(s))
	}
	return ""
}

// gatewayHost checks [namespace/]host.
func (c *check) gatewayHost(path, h string) {
	ns, host, ok := strings.Cut(h, "/")
	if !ok {
		host = h
	} else if ns != "*" && ns != "." {
		c.problem(path, labelProblem(ns), "write host or namespace/host")
	}
	if !isIP(host) {
		c.problem(path, wildcardHostProblem(host), "")
	}
}

func (c *check) serverTLS(path string, t *networkingv1alpha3.ServerTLSSettings) {
	c.exclusive(path, map[string]bool{
		"credentialName": t.GetCredentialName() != "", "credentialNames": len(t.GetCredentialNames()) > 0,
		"tlsCertificates": len(t.GetTlsCertificates()) > 0, "serverCertificate": t.GetServerCertificate() != "",
	}, "credentialName", "credentialNames", "tlsCertificates", "serverCertificate")
	if len(t.GetCredentialNames()) > 2 || len(t.GetTlsCertificates()) > 2 {
		c.errorf(path, "keep an RSA and an ECDSA certificate", "at most two certificates are allowed")
	}
	secret := t.GetCredentialName() != "" || len(t.GetCredentialNames()) > 0
	own := hasServerFiles(t) || secret
	switch t.GetMode() {
	case networkingv1alpha3.ServerTLSSettings_SIMPLE, networkingv1alpha3.ServerTLSSettings_MUTUAL, networkingv1alpha3.ServerTLSSettings_OPTIONAL_MUTUAL:
		c.serverCertificates(path, t, secret)
	case networkingv1alpha3.ServerTLSSettings_ISTIO_MUTUAL:
		if own {
			c.errorf(path, "remove the certificates, or use mode MUTUAL", "mode ISTIO_MUTUAL uses the workload's own certificate")
		}
	case networkingv1alpha3.ServerTLSSettings_PASSTHROUGH, networkingv1alpha3.ServerTLSSettings_AUTO_PASSTHROUGH:
		if own {
			c.warnf(path, "connections are passed on as they are", "set mode to SIMPLE", "mode %s does not end TLS, so the certificates are not used", t.GetMode())
		}
	}
	low, high := t.GetMinProtocolVersion(), t.GetMaxProtocolVersion()
	if low != 0 && high != 0 && low > high {
		c.errorf(path+".minProtocolVersion", "", "the least version %s is above the highest %s", low, high)
	}
	if low == networkingv1alpha3.ServerTLSSettings_TLSV1_0 || low == networkingv1alpha3.ServerTLSSettings_TLSV1_1 {
		c.warnf(path+".minProtocolVersion", "old clients are let in with weak ciphers", "use TLSV1_2", "%s is obsolete (RFC 8996)", low)
	}
	for i, h := range t.GetVerifyCertificateHash() {
		if digits := strings.ReplaceAll(h, ":", ""); len(digits) != 64 || strings.Trim(strings.ToLower(digits), "0123456789abcdef") != "" {
			c.errorf(item(path+".verifyCertificateHash", i), "", "%s is not a SHA-256 hash in hexadecimal", quoted(h))
		}
	}
}

func (c *check) serverCertificates(path string, t *networkingv1alpha3.ServerTLSSettings, secret bool) {
	mutual := t.GetMode() != networkingv1alpha3.ServerTLSSettings_SIMPLE
	if secret {
		return
	}
	why := "mode " + t.GetMode().String()
	if len(t.GetTlsCertificates()) > 0 {
		for i, cert := range t.GetTlsCertificates() {
			p := item(path+".tlsCertificates", i)
			c.needFile(p, "serverCertificate", cert.GetServerCertificate(), why)
			c.needFile(p, "privateKey", cert.GetPrivateKey(), why)
		}
	} else if t.GetServerCertificate() == "" && t.GetPrivateKey() == "" {
		c.errorf(path, "set credentialName, or serverCertificate and privateKey", "%s needs a certificate", why)
		return
	} else {
		c.needFile(path, "serverCertificate", t.GetServerCertificate(), why)
		c.needFile(path, "privateKey", t.GetPrivateKey(), why)
	}
	if mutual && t.GetCaCertificates() == "" && t.GetCaCertCredentialName() == "" {
		c.errorf(path, "set caCertificates", "%s needs caCertificates to check clients by", why)
	}
}
