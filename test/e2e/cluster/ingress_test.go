//go:build e2e

package cluster

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// ingress leads two paths of one host to Services, with a certificate of a Secret
// beside the gateway; gateway is a Gateway of the Gateway API, which brings its own pods.
const (
	ingress = `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: default}
spec:
  ingressClassName: istio
  tls: [{hosts: [shop.example.com], secretName: shop-cert}]
  rules:
  - host: shop.example.com
    http:
      paths:
      - {path: /productpage, pathType: Exact, backend: {service: {name: productpage, port: {number: 9080}}}}
      - {path: /details, pathType: Prefix, backend: {service: {name: details, port: {number: 9080}}}}
`
	gateway = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: default}
spec:
  gatewayClassName: istio
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: front, namespace: default}
spec:
  parentRefs: [{name: front}]
  rules: [{backendRefs: [{name: productpage, port: 9080}]}]
`
)

// testIngress comes in by an Ingress, with TLS, and has the certificate replaced
// under it; beside Istio's Gateway and one of the Gateway API, with all three in
// `meshctl gateways`.
func testIngress(t *testing.T, m *mesh) {
	first, second := newCertificate(t), newCertificate(t)
	m.applyText(t, gateway) // its pods start meanwhile
	m.applyText(t, first.secret())
	m.applyText(t, ingress)
	var address string
	eventually(t, "the address of the Ingress in its status", func() error {
		if address = m.kubectl(t, "get", "ingress", "shop", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}"); address == "" {
			return fmt.Errorf("there is none")
		}
		return nil
	})
	pods := m.kubectl(t, "get", "pods", "-n", "istio-system", "-l", "istio=ingressgateway", "-o", "jsonpath={.items[*].metadata.uid} {.items[*].status.containerStatuses[*].restartCount}")
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: first.roots(second), MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(address, "443"))
		},
	}}
	get := func(path string) (code int, shown []byte, err error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://shop.example.com"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, nil, err
		}
		return resp.StatusCode, resp.TLS.PeerCertificates[0].Raw, resp.Body.Close()
	}
	served := func(path string, want int, by certificate) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d from %s with the right certificate", want, path), func() error {
			code, shown, err := get(path)
			if err == nil && (code != want || !bytes.Equal(shown, by.der)) {
				err = fmt.Errorf("%d, the certificate is the one wanted: %v", code, bytes.Equal(shown, by.der))
			}
			return err
		})
	}
	served("/productpage", http.StatusOK, first)
	served("/details/0", http.StatusOK, first)
	served("/productpage/more", http.StatusNotFound, first)

	m.applyText(t, second.secret())
	served("/productpage", http.StatusOK, second)
	if now := m.kubectl(t, "get", "pods", "-n", "istio-system", "-l", "istio=ingressgateway", "-o", "jsonpath={.items[*].metadata.uid} {.items[*].status.containerStatuses[*].restartCount}"); now != pods {
		t.Errorf("the gateway was replaced or restarted: %s, before %s", now, pods)
	}

	var own string
	eventually(t, "the address of the Gateway in its status", func() error {
		own = m.kubectl(t, "get", "gateways.gateway.networking.k8s.io", "front", "-o", `jsonpath={.status.conditions[?(@.type=="Programmed")].status} {.status.addresses[0].value}`)
		if !strings.HasPrefix(own, "True ") {
			return fmt.Errorf("it is not programmed: %s", own)
		}
		own = strings.TrimPrefix(own, "True ")
		return nil
	})
	answers(t, "http://"+own+"/productpage", http.StatusOK)
	out := m.run(t, "meshctl", "gateways")
	for _, line := range []string{
		`default +bookinfo-gateway +Gateway +` + address + `.* +80 +HTTP`,
		`default +shop +Ingress +` + address + `.* +443 +HTTPS +shop.example.com .*shop-cert`,
		`default +front +Gateway API +` + own + ` +80 +HTTP`,
	} {
		if !regexp.MustCompile(line).MatchString(out) {
			t.Errorf("meshctl gateways has no line like %s:\n%s", line, out)
		}
	}
}

// certificate is a self-signed one for shop.example.com.
type certificate struct {
	der       []byte
	cert, key string // PEM
}

func newCertificate(t *testing.T) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "shop.example.com"}, DNSNames: []string{"shop.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return certificate{der, block("CERTIFICATE", der), block("PRIVATE KEY", raw)}
}

// secret is the manifest of a Secret with the certificate, beside the gateway.
func (c certificate) secret() string {
	indent := func(s string) string { return "    " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n    ") }
	return "apiVersion: v1\nkind: Secret\nmetadata: {name: shop-cert, namespace: istio-system}\ntype: kubernetes.io/tls\nstringData:\n" +
		"  tls.crt: |\n" + indent(c.cert) + "\n  tls.key: |\n" + indent(c.key) + "\n"
}

// roots are this certificate and another, for a client that trusts both.
func (c certificate) roots(other certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(c.cert + other.cert))
	return pool
}
