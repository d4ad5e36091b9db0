// Command meshecho stands in for the image echo-advanced of the conformance suite's
// mesh tests: a server that answers what it was asked, and, called as client, a
// client that prints the answer as the suite reads it.
//
//	meshecho --port=80 --port=8080 --tls=8443 --port=8443 --crt=FILE --key=FILE --tcp=9090 --grpc=7070
//	client URL [--method=M] [-H name:value]... [--count=N]
package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func main() {
	run := serve
	if filepath.Base(os.Args[0]) == "client" {
		run = ask
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// list is a flag that may be given several times.
type list []string

// String implements flag.Value.
func (l *list) String() string { return strings.Join(*l, ",") }

// Set implements flag.Value.
func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}

func serve(args []string) error {
	var ports, secure, plain, calls list
	fs := flag.NewFlagSet("meshecho", flag.ContinueOnError)
	fs.Var(&ports, "port", "port of HTTP")
	fs.Var(&secure, "tls", "which of them speaks TLS")
	fs.Var(&plain, "tcp", "port of plain TCP")
	fs.Var(&calls, "grpc", "port of gRPC")
	fs.String("crt", "", "taken for the image's sake; a certificate is made at start")
	fs.String("key", "", "the same")
	if err := fs.Parse(args); err != nil {
		return err
	}
	certificate, err := selfSigned()
	if err != nil {
		return err
	}
	failed := make(chan error)
	for _, p := range ports {
		go func() { failed <- serveHTTP(p, slices.Contains(secure, p), certificate) }()
	}
	for _, p := range plain {
		go func() { failed <- serveTCP(p) }()
	}
	for _, p := range calls {
		go func() { failed <- serveGRPC(p) }()
	}
	return <-failed
}

// answer is what the suite reads.
func answer(port, method, host, url, proto, peer string, headers map[string][]string) string {
	name, err := os.Hostname()
	if err != nil {
		name = "unknown"
	}
	var b strings.Builder
	for _, kv := range [][2]string{
		{"ServiceVersion", ""}, {"ServicePort", port}, {"Host", host}, {"URL", url}, {"Method", method}, {"Proto", proto}, {"IP", peer}, {"Hostname", name},
	} {
		fmt.Fprintf(&b, "%s=%s\n", kv[0], kv[1])
	}
	for k, vs := range headers {
		for _, v := range vs {
			fmt.Fprintf(&b, "RequestHeader=%s:%s\n", k, v)
		}
	}
	return b.String()
}

func serveHTTP(port string, secure bool, certificate tls.Certificate) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{
		Addr: ":" + port, ReadHeaderTimeout: 10 * time.Second, Protocols: protocols,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			peer, _, _ := net.SplitHostPort(r.RemoteAddr)
			_, _ = io.WriteString(w, answer(port, r.Method, r.Host, r.URL.RequestURI(), r.Proto, peer, r.Header))
		}),
	}
	if secure {
		return s.ListenAndServeTLS("", "")
	}
	return s.ListenAndServe()
}

func serveTCP(port string) error {
	ln, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			if _, err := bufio.NewReader(c).ReadString('\n'); err == nil || errors.Is(err, io.EOF) {
				_, _ = io.WriteString(c, answer(port, "", "", "", "TCP", c.RemoteAddr().String(), nil))
			}
		}()
	}
}

// method is that of the server that this one stands in for.
const method = "/proto.EchoTestService/Echo"

func serveGRPC(port string) error {
	ln, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		name, _ := grpc.MethodFromServerStream(stream)
		in, _ := metadata.FromIncomingContext(stream.Context())
		if err := stream.RecvMsg(&wrapperspb.StringValue{}); err != nil {
			return err
		}
		return stream.SendMsg(wrapperspb.String(answer(port, "", strings.Join(in[":authority"], ","), name, "GRPC", "", in)))
	}))
	return s.Serve(ln)
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"echo"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// ask sends requests and prints the answers.
func ask(args []string) error {
	if len(args) == 0 {
		return errors.New("usage: client URL [--method=M] [-H name:value]... [--count=N]")
	}
	url := args[0]
	var headers list
	fs := flag.NewFlagSet("client", flag.ContinueOnError)
	fs.Var(&headers, "H", "header")
	method := fs.String("method", http.MethodGet, "method")
	count := fs.Int("count", 1, "how often")
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	one := askHTTP
	if strings.HasPrefix(url, "grpc://") {
		one = askGRPC
	}
	for i := range *count {
		if i > 0 {
			fmt.Println()
		}
		if err := one(i, url, *method, headers); err != nil {
			return err
		}
	}
	return nil
}

func show(i int, code string, response http.Header, body string) {
	fmt.Printf("[%d] StatusCode=%s\n", i, code)
	for k, vs := range response {
		for _, v := range vs {
			fmt.Printf("[%d] ResponseHeader=%s:%s\n", i, k, v)
		}
	}
	for line := range strings.SplitSeq(strings.TrimSpace(body), "\n") {
		fmt.Printf("[%d body] %s\n", i, line)
	}
}

func askHTTP(i int, url, method string, headers list) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return err
	}
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ":")
		if strings.EqualFold(k, "host") {
			req.Host = v
			continue
		}
		req.Header.Add(k, v)
	}
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}, //nolint:gosec // its own server's
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	show(i, strconv.Itoa(res.StatusCode), res.Header, string(body))
	return nil
}

func askGRPC(i int, url, _ string, headers list) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	address, _, _ := strings.Cut(strings.TrimPrefix(url, "grpc://"), "/")
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ":")
		ctx = metadata.AppendToOutgoingContext(ctx, k, v)
	}
	out := &wrapperspb.StringValue{}
	if err := conn.Invoke(ctx, method, wrapperspb.String("ping"), out); err != nil {
		return err
	}
	show(i, "200", nil, out.GetValue())
	return nil
}
